package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/google/go-cmp/cmp"
)

// expectAttachments checks the message with an attachment of the older kind
// that a type sends for an error and for a recovery.
func expectAttachments(t *testing.T, name, uri, channel string, colors map[string]string) {
	t.Helper()
	for severity, color := range colors {
		event, text := sample(), "no &lt;way&gt;"
		if severity == "info" {
			event, text = recovery(), "fine again"
		}
		field := func(title, value string) map[string]any {
			return map[string]any{"title": title, "value": value, "short": false}
		}
		message := map[string]any{"username": "kustomize-controller", "attachments": []any{map[string]any{
			"color": color, "author_name": "kustomization/apps.ns", "text": text, "mrkdwn_in": []string{"text"},
			"fields": []any{field("change_request", "7"), field("revision", "main@sha1:"+sha), field("summary", "staging")},
		}}}
		if channel != "" {
			message["channel"] = channel
		}
		body, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, name, event, request{method: "POST", uri: uri, header: map[string]string{"Content-Type": "application/json"}, body: string(body)})
	}
}

// long is an event that fills whatever there is to fill.
func long() *eventv1.Event {
	e := sample()
	e.Message = strings.Repeat("a < ü & ", 20_000)
	for n := range 200 {
		e.Metadata[fmt.Sprintf("key-%03d", n)] = strings.Repeat("<&ü", 2000)
	}
	return e
}

func TestSlackSends(t *testing.T) {
	expectAttachments(t, "slack", "/owner/planted-secret-value", "ops", map[string]string{"error": "danger", "info": "good"})
}

// slackAPI is Slack's Web API: it answers with the time stamp of a message,
// and repeats it.
func slackAPI(ts string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"channel":"C1","ts":%q,"message":{"text":%q}}`, ts, strings.Repeat("x", maxAnswer))
	}
}

func slackTo(t *testing.T, format string, to *sink, m *memory) Sender {
	t.Helper()
	target := targetAt("slack", to.URL)
	target.Format, target.Memory = format, m
	s, err := newSlack(target)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sentTo(t *testing.T, to *sink, n int) slackMessage {
	t.Helper()
	var m slackMessage
	if len(to.bodies) <= n {
		t.Fatalf("%d messages, want %d", len(to.bodies), n+1)
	}
	if err := json.Unmarshal([]byte(to.bodies[n]), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSlackBlocks(t *testing.T) {
	to := newSink(t)
	e := sample()
	e.Metadata[sourceKey] = "https://github.com/weirhq/demo.git"
	if err := send(t.Context(), slackTo(t, "blocks", to, &memory{}), e); err != nil {
		t.Fatal(err)
	}
	mrkdwn := func(text string) map[string]any { return map[string]any{"type": "mrkdwn", "text": text} }
	section := func(text string) map[string]any { return map[string]any{"type": "section", "text": mrkdwn(text)} }
	want := map[string]any{"channel": "ops", "username": "kustomize-controller", "attachments": []any{map[string]any{
		"color": "danger", "fallback": "kustomization/apps.ns: no <way>",
		"blocks": []any{
			section("*kustomization/apps.ns*  HealthCheckFailed"),
			section("no &lt;way&gt;"),
			section("Revision <https://github.com/weirhq/demo/commit/" + sha + "|`main@sha1:0123456`>"),
			map[string]any{"type": "section", "fields": []any{
				mrkdwn("*change_request*\n7"), mrkdwn("*revision*\nmain@sha1:" + sha),
				mrkdwn("*source_url*\nhttps://github.com/weirhq/demo.git"), mrkdwn("*summary*\nstaging"),
			}},
			map[string]any{"type": "context", "elements": []any{mrkdwn("kustomize-controller")}},
		},
	}}}
	if diff := cmp.Diff(any(want), meaning(to.bodies[0])); diff != "" {
		t.Error(diff)
	}
	checkBlocks(t, to.bodies[0])
}

// checkBlocks checks a message against what Slack publishes of blocks in
// attachments.
func checkBlocks(t *testing.T, body string) {
	t.Helper()
	var m struct {
		Attachments []map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || len(m.Attachments) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	for key := range m.Attachments[0] {
		if key != "color" && key != "fallback" && key != "blocks" {
			t.Errorf("an attachment with blocks has the older field %q", key)
		}
	}
	var blocks []slackBlock
	if err := json.Unmarshal(m.Attachments[0]["blocks"], &blocks); err != nil || len(blocks) > 20 || len(blocks) == 0 {
		t.Errorf("%d blocks, %v", len(blocks), err)
	}
	text := func(o slackTextObject, most int) {
		if n := utf8.RuneCountInString(o.Text); o.Type != "mrkdwn" || n == 0 || n > most || !utf8.ValidString(o.Text) {
			t.Errorf("a text of type %q with %d characters", o.Type, n)
		}
		for rest := o.Text; strings.Contains(rest, "&"); rest = rest[1:] {
			rest = rest[strings.Index(rest, "&"):]
			if !strings.HasPrefix(rest, "&amp;") && !strings.HasPrefix(rest, "&lt;") && !strings.HasPrefix(rest, "&gt;") {
				t.Fatalf("half an entity: %.20q", rest)
			}
		}
	}
	for _, b := range blocks {
		if b.Type == "section" && (b.Text == nil) == (len(b.Fields) == 0) || b.Type == "context" && len(b.Elements) == 0 || len(b.Fields) > 10 || len(b.Elements) > 10 {
			t.Errorf("block %+v", b)
		}
		if b.Text != nil {
			text(*b.Text, 3000)
		}
		for _, f := range b.Fields {
			text(f, 2000)
		}
		for _, e := range b.Elements {
			text(e, 3000)
		}
	}
}

func TestSlackBlocksAreBounded(t *testing.T) {
	for name, change := range map[string]func(*eventv1.Event){
		"long":    func(*eventv1.Event) {},
		"empty":   func(e *eventv1.Event) { *e = eventv1.Event{Severity: "info"} },
		"no ends": func(e *eventv1.Event) { e.Message, e.Reason = strings.Repeat("&", 9000), strings.Repeat("<", 9000) },
		"address": func(e *eventv1.Event) { e.Metadata[sourceKey] = "https://x.example.com/" + strings.Repeat("|>", 9000) },
	} {
		t.Run(name, func(t *testing.T) {
			to, e := newSink(t), long()
			change(e)
			if err := send(t.Context(), slackTo(t, "blocks", to, &memory{}), e); err != nil {
				t.Fatal(err)
			}
			checkBlocks(t, to.bodies[0])
		})
	}
}

// TestSlackThreads tells the story of an incident: the error opens a thread,
// what follows is in it, the recovery ends it and is shown in the channel too.
func TestSlackThreads(t *testing.T) {
	to, m := newSink(t, slackAPI("1.0"), slackAPI("1.1"), slackAPI("1.2"), slackAPI("1.3"), slackAPI("1.4")), &memory{}
	other := sample()
	other.InvolvedObject.Name = "infra"
	again := recovery()
	again.Metadata = map[string]string{"revision": "main@sha1:" + strings.Repeat("b", 40)}
	for n, tt := range []struct {
		event     *eventv1.Event
		thread    string
		broadcast bool
	}{
		{event: sample()}, {event: sample(), thread: "1.0"}, {event: progressing(), thread: "1.0"},
		{event: other}, {event: recovery(), thread: "1.0", broadcast: true}, {event: again},
	} {
		// Senders come and go; the memory stays.
		if err := send(t.Context(), slackTo(t, "blocks", to, m), tt.event); err != nil {
			t.Fatal(err)
		}
		if got := sentTo(t, to, n); got.Thread != tt.thread || got.Broadcast != tt.broadcast {
			t.Errorf("message %d: thread %q, broadcast %t", n, got.Thread, got.Broadcast)
		}
	}
	change := sentTo(t, to, 5).Attachments[0].Blocks[2].Text.Text
	if want := "Revision `main@sha1:0123456` → `main@sha1:bbbbbbb`"; change != want {
		t.Errorf("what changed: %q, want %q", change, want)
	}
}

// TestSlackThreadsOutliveTheProcess tells an incident with a restart before each message;
// at the end the file is damaged, and a new thread begins.
func TestSlackThreadsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "storage", "told.db")
	to := newSink(t, slackAPI("1.0"), slackAPI("1.1"), slackAPI("1.2"), slackAPI("2.0"), slackAPI("3.0"))
	for n, tt := range []struct {
		event  *eventv1.Event
		thread string
		damage string
	}{{event: sample()}, {event: sample(), thread: "1.0"}, {event: recovery(), thread: "1.0"}, {event: sample()}, {event: sample(), damage: "no file of ours"}} {
		if tt.damage != "" {
			if err := os.WriteFile(path, []byte(tt.damage), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := &memory{}
		if err := m.keep(path); err != nil {
			t.Fatal(err)
		}
		if err := send(t.Context(), slackTo(t, "blocks", to, m), tt.event); err != nil {
			t.Fatal(err)
		}
		if got := sentTo(t, to, n).Thread; got != tt.thread {
			t.Errorf("message %d is in thread %q, want %q", n, got, tt.thread)
		}
		if err := errors.Join(m.Close(), m.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlackThreadIsGone asserts that a message still arrives when somebody
// deleted the thread.
func TestSlackThreadIsGone(t *testing.T) {
	gone := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ok":false,"error":"thread_not_found"}`)
	}
	to, m := newSink(t, slackAPI("1.0"), gone, slackAPI("2.0"), slackAPI("2.1")), &memory{}
	s := slackTo(t, "blocks", to, m)
	for range 3 {
		if err := send(t.Context(), s, sample()); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range []string{"", "1.0", "", "2.0"} {
		if got := sentTo(t, to, n).Thread; got != want {
			t.Errorf("message %d is in thread %q, want %q", n, got, want)
		}
	}
}

// TestSlackFormat asserts who gets blocks: Slack, and who asks for them.
func TestSlackFormat(t *testing.T) {
	for _, tt := range []struct {
		address, format string
		blocks          bool
	}{
		{"https://hooks.slack.com/services/x", "", true},
		{"https://slack.com/api/chat.postMessage", "", true},
		{"https://hooks.slack-gov.com/services/x", "", true},
		{"https://mattermost.example.com/hooks/x", "", false},
		{"https://notslack.com/x", "", false},
		{"https://hooks.slack.com/services/x", "attachments", false},
		{"https://mattermost.example.com/hooks/x", "blocks", true},
	} {
		target := targetAt("slack", "")
		target.Address, target.Format = tt.address, tt.format
		s, err := newSlack(target)
		if err != nil || s.(*slack).blocks != tt.blocks {
			t.Errorf("%+v: got %+v, %v", tt, s, err)
		}
	}
	refuses(t, "slack", map[string]func(*Target){"another format": func(t *Target) { t.Format = "cards" }})
}

func TestSlackAPIRefusal(t *testing.T) {
	for said, final := range map[string]bool{"channel_not_found": true, "ratelimited": false} {
		to := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"ok":false,"error":"`+said+`"}`)
		})
		err := send(t.Context(), senderTo(t, "slack", to.URL), sample())
		if err == nil || IsFinal(err) != final || to.seen[0].Header.Get("Authorization") != "Bearer "+planted {
			t.Errorf("%s: %v (final %t)", said, err, IsFinal(err))
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m, path := &memory{}, filepath.Join(t.TempDir(), "told.db")
	if err := m.keep(path); err != nil {
		t.Fatal(err)
	}
	for n := range maxTold + 10 {
		e := sample()
		e.InvolvedObject.Name = fmt.Sprint(n)
		k := m.of("uid", e)
		k.thread = "1.0"
		m.put(k)
	}
	first, last := sample(), sample()
	first.InvolvedObject.Name, last.InvolvedObject.Name = "0", fmt.Sprint(maxTold+9)
	if len(m.at) != maxTold || m.order.Len() != maxTold || m.of("uid", first).thread != "" || m.of("uid", last).thread != "1.0" {
		t.Errorf("%d objects are remembered", len(m.at))
	}
	again := &memory{}
	if err := errors.Join(m.Close(), again.keep(path)); err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if len(again.at) != maxTold || again.of("uid", first).thread != "" || again.of("uid", last).thread != "1.0" {
		t.Errorf("%d objects are remembered by a file", len(again.at))
	}
}
