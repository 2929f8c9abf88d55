package provider

import (
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// newDiscord posts Slack's messages to a Discord webhook, whose path ends in
// /slack for them.
// https://discord.com/developers/docs/resources/webhook#execute-slackcompatible-webhook
func newDiscord(t Target) (Sender, error) {
	t.Channel = "" // a webhook belongs to one channel
	p, err := newPoster(t, func(event *eventv1.Event) any { return slackMessageTo(t, event) })
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(strings.TrimSuffix(p.to.Path, "/"), "/slack") {
		p.to = p.to.JoinPath("slack")
	}
	return p, nil
}
