package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// slackFormat is the annotation of a Provider that says how messages are laid
// out: as blocks, or as attachments of the older kind. Slack itself gets
// blocks by default; anything else that takes Slack's messages gets
// attachments, because few of these know blocks.
const slackFormat = "weir.dev/slack-format"

// slack posts messages with one attachment, to an incoming webhook or to the
// chat.postMessage method of Slack's Web API (which needs a token). With
// blocks, the Web API puts what follows an error into a thread below it, until
// the object is well again.
// https://docs.slack.dev/reference/methods/chat.postMessage
type slack struct {
	to     *url.URL
	target Target
	blocks bool
}

type slackMessage struct {
	Channel     string            `json:"channel,omitempty"`
	Username    string            `json:"username,omitempty"`
	Attachments []slackAttachment `json:"attachments"`
	Thread      string            `json:"thread_ts,omitempty"`
	Broadcast   bool              `json:"reply_broadcast,omitempty"`
}

// slackAttachment has either blocks or the older fields, which other services
// know as well.
// https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments
type slackAttachment struct {
	Color      string       `json:"color"`
	AuthorName string       `json:"author_name,omitempty"`
	Text       string       `json:"text,omitempty"`
	MrkdwnIn   []string     `json:"mrkdwn_in,omitempty"`
	Fields     []slackField `json:"fields,omitempty"`
	Fallback   string       `json:"fallback,omitempty"`
	Blocks     []slackBlock `json:"blocks,omitempty"`
}

type slackField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

func newSlack(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	s := &slack{to: to, target: t}
	switch t.Format {
	case "":
		s.blocks = slackHost(to.Hostname())
	case "blocks":
		s.blocks = true
	case "attachments":
	default:
		return nil, fmt.Errorf("%w: annotation %s is %q: use \"blocks\" or \"attachments\"", ErrInvalid, slackFormat, t.Format)
	}
	return s, nil
}

func slackHost(name string) bool {
	name = strings.ToLower(name)
	return name == "slack.com" || strings.HasSuffix(name, ".slack.com") || name == "slack-gov.com" || strings.HasSuffix(name, ".slack-gov.com")
}

// Send implements Sender.
func (s *slack) Send(ctx context.Context, event *eventv1.Event) error {
	if !s.blocks {
		_, err := s.post(ctx, slackMessageTo(s.target, event))
		return err
	}
	known := s.target.Memory.of(s.target.UID, event)
	message := slackMessageTo(s.target, event)
	message.Attachments = []slackAttachment{slackBlocksOf(event, known.revision)}
	message.Thread = known.thread
	message.Broadcast = known.thread != "" && recovers(event)
	said, err := s.post(ctx, message)
	if known.thread != "" && (said.Error == "thread_not_found" || said.Error == "invalid_thread_ts") { // somebody deleted it
		message.Thread, message.Broadcast, known.thread = "", false, ""
		said, err = s.post(ctx, message)
	}
	if err != nil {
		return err
	}
	switch {
	case recovers(event):
		known.thread = ""
		known.revision, _ = event.GetRevision()
	case isError(event) && known.thread == "":
		known.thread = said.TS
	}
	s.target.Memory.put(known)
	return nil
}

// slackAnswer is what the Web API says first; an incoming webhook answers
// with plain text.
type slackAnswer struct {
	OK        *bool
	Error, TS string
}

// post sends a message. The Web API reports failures with status 200.
func (s *slack) post(ctx context.Context, m slackMessage) (slackAnswer, error) {
	header := http.Header{}
	if s.target.Token != "" {
		header.Set("Authorization", "Bearer "+s.target.Token)
	}
	answer, err := postJSON(ctx, s.target.Client, s.to, m, header)
	if err != nil {
		return slackAnswer{}, err
	}
	said := readSlack(answer)
	if said.OK == nil || *said.OK {
		return said, nil
	}
	err = fmt.Errorf("POST %s: Slack refused the message%s", host(s.to), quote([]byte(said.Error)))
	switch said.Error {
	case "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org":
		return said, &Failure{Err: err}
	}
	return said, Final(err)
}

// readSlack reads the fields before the message, which the Web API repeats
// and which may be cut off.
func readSlack(answer []byte) slackAnswer {
	var said slackAnswer
	d := json.NewDecoder(bytes.NewReader(answer))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return said
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return said
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return said
		}
		into := map[any]any{"ok": &said.OK, "error": &said.Error, "ts": &said.TS}[key]
		if into != nil && json.Unmarshal(value, into) != nil {
			return slackAnswer{}
		}
	}
	return said
}

// slackMessageTo makes the message with an attachment of the older kind;
// services that take Slack's messages use it too.
func slackMessageTo(t Target, event *eventv1.Event) slackMessage {
	username := t.Username
	if username == "" {
		username = event.ReportingController
	}
	return slackMessage{
		Channel:     t.Channel,
		Username:    username,
		Attachments: []slackAttachment{slackAttachmentOf(event)},
	}
}

func slackAttachmentOf(event *eventv1.Event) slackAttachment {
	a := slackAttachment{
		Color:      either(event, "danger", "good"),
		AuthorName: objectName(event),
		Text:       slackEscape(event.Message),
		MrkdwnIn:   []string{"text"},
	}
	a.Fields = slackFields(factsOf(event))
	return a
}

func slackFields(facts []fact) []slackField {
	var fields []slackField
	for _, f := range facts {
		fields = append(fields, slackField{Title: f.key, Value: slackValue(f)})
	}
	return fields
}

// slackValue escapes the value of a fact, but for the summary: the Alert's
// author may mention people there.
func slackValue(f fact) string {
	if f.key == summaryKey {
		return f.value
	}
	return slackEscape(f.value)
}

// slackEscape keeps a message from being read as markup, so that nothing a
// tenant writes can mention a channel.
// https://docs.slack.dev/messaging/formatting-message-text#escaping
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
