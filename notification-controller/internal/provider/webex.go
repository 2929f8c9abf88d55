package provider

import (
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// webexText is the longest message that Webex takes, in bytes.
const webexText = 7439

// newWebex writes Markdown to a room.
// https://developer.webex.com/docs/api/v1/messages/create-a-message
func newWebex(t Target) (Sender, error) {
	if err := t.needToken(); err != nil {
		return nil, err
	}
	if err := t.needChannel("the room's id"); err != nil {
		return nil, err
	}
	if t.Address == "" {
		t.Address = "https://webexapis.com/v1/messages"
	}
	p, err := newPoster(t, func(event *eventv1.Event) any {
		return map[string]string{"roomId": t.Channel, "markdown": markdownOf(event, webexText)}
	})
	if err != nil {
		return nil, err
	}
	t.authorize(p.header)
	return p, nil
}

// markdownOf is an event as Markdown, at most max bytes long.
func markdownOf(event *eventv1.Event, max int) string {
	var b strings.Builder
	b.WriteString(either(event, "\U0001f4a3", "✅") + " **" + objectName(event) + "**\n\n" + event.Message + "\n")
	for _, f := range factsOf(event) {
		b.WriteString("\n- **" + f.key + "**: " + f.value)
	}
	return cut(b.String(), max)
}
