package provider

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDiscordSends(t *testing.T) {
	expectAttachments(t, "discord", "/owner/planted-secret-value/slack", "", map[string]string{"error": "danger", "info": "good"})
}

// TestDiscordBounds asserts that a long message stays below what an embed may
// hold.
func TestDiscordBounds(t *testing.T) {
	to := newSink(t)
	if err := send(t.Context(), senderTo(t, "discord", to.URL), long()); err != nil {
		t.Fatal(err)
	}
	var m slackMessage
	if err := json.Unmarshal([]byte(to.bodies[0]), &m); err != nil {
		t.Fatal(err)
	}
	a := m.Attachments[0]
	all := len(a.AuthorName) + len(a.Text)
	for _, f := range a.Fields {
		all += len(f.Title) + len(f.Value)
	}
	if all > 6000 || len(a.Text) > 4096 || len(a.Fields) > 25 || strings.HasSuffix(a.Text, "&am") {
		t.Errorf("%d characters, %d of text, %d fields", all, len(a.Text), len(a.Fields))
	}
}

func TestDiscordAddressMayHaveThePath(t *testing.T) {
	target := targetAt("discord", "https://discord.example.com")
	target.Address += "/slack"
	s, err := newDiscord(target)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.(*poster).to.Path; got != "/owner/"+planted+"/slack" {
		t.Errorf("posts to %q", got)
	}
}
