package provider

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestTelegramSends(t *testing.T) {
	expectBoth(t, "telegram", words{`no <way\\>`, "fine again", "💣", "✅"},
		request{method: "POST", uri: "/botplanted-secret-value/sendMessage", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "chat_id": "ops",
 "text": "💣 *kustomization/apps\\.ns*\nno <way\\>\n\\- *change\\_request*: 7\n\\- *revision*: main@sha1:0123456789012345678901234567890123456789\n\\- *summary*: staging",
 "parse_mode": "MarkdownV2"
}`},
	)
}

func TestTelegramRefuses(t *testing.T) {
	refuses(t, "telegram", map[string]func(*Target){"no token": noToken, "no channel": noChannel})
}

func TestTelegramThread(t *testing.T) {
	to := newSink(t)
	target := targetAt("telegram", to.URL)
	target.Channel = "-100:42"
	s, err := newTelegram(target)
	if err != nil {
		t.Fatal(err)
	}
	long := sample()
	long.Message = strings.Repeat("!", 10_000)
	if err := s.Send(context.Background(), long); err != nil {
		t.Fatal(err)
	}
	var m telegramMessage
	if err := json.Unmarshal([]byte(to.bodies[0]), &m); err != nil || m.Chat != "-100" || m.Thread != 42 || len(m.Text) > 4096 {
		t.Errorf("chat %q, thread %d, %d bytes, %v", m.Chat, m.Thread, len(m.Text), err)
	}
	refuses(t, "telegram", map[string]func(*Target){
		"a thread that is no number": func(t *Target) { t.Channel = "1:x" },
		"a token with a slash":       func(t *Target) { t.Token = planted + "/x" },
	})
}
