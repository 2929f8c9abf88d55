package provider

import (
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// Discord makes an embed of the attachment: 6000 characters in all, of which
// 4096 may be the text, and 25 fields.
const (
	discordText   = 3500
	discordFacts  = 2000
	discordFields = 25
)

func discordFieldsOf(event *eventv1.Event) []slackField {
	fields, room := slackFields(factsWithin(event, discordFacts)), discordFacts
	for n, f := range fields { // escaping makes them longer
		if room -= len(f.Title) + len(f.Value); room < 0 || n == discordFields {
			return fields[:n]
		}
	}
	return fields
}

// newDiscord posts Slack's messages to a Discord webhook, whose path ends in
// /slack for them.
// https://discord.com/developers/docs/resources/webhook#execute-slackcompatible-webhook
func newDiscord(t Target) (Sender, error) {
	t.Channel = "" // a webhook belongs to one channel
	p, err := newPoster(t, func(event *eventv1.Event) any {
		m := slackMessageTo(t, event)
		a := &m.Attachments[0]
		a.Text = slackCut(a.Text, discordText)
		a.Fields = discordFieldsOf(event)
		return m
	})
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(strings.TrimSuffix(p.to.Path, "/"), "/slack") {
		p.to = p.to.JoinPath("slack")
	}
	return p, nil
}
