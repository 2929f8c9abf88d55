package provider

import eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

// newRocket posts Slack's messages to an incoming webhook of Rocket.Chat.
// https://docs.rocket.chat/docs/integrations
func newRocket(t Target) (Sender, error) {
	return senderOf(newPoster(t, func(event *eventv1.Event) any {
		m := slackMessageTo(t, event)
		m.Attachments[0].Color = either(event, "#B22222", "#0076D7") // it knows no "good"
		return m
	}))
}
