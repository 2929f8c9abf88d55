package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// zulip writes to a topic of a stream.
// https://zulip.com/api/send-message
type zulip struct {
	to            *url.URL
	stream, topic string
	target        Target
}

// zulipText is the longest message that Zulip takes, in bytes to be safe (the
// limit counts characters).
const zulipText = 10_000

func newZulip(t Target) (Sender, error) {
	server, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	stream, topic, ok := strings.Cut(t.Channel, "/")
	if !ok || stream == "" || topic == "" {
		return nil, fmt.Errorf("%w: spec.channel %q is not of the form <stream>/<topic>", ErrInvalid, t.Channel)
	}
	if t.Login == "" || t.Password == "" {
		return nil, fmt.Errorf("%w: the keys \"username\" (the bot's address) and \"password\" (its API key) of the secret are missing or empty", ErrInvalid)
	}
	return &zulip{to: server.JoinPath("api/v1/messages"), stream: stream, topic: topic, target: t}, nil
}

func (z *zulip) Send(ctx context.Context, event *eventv1.Event) error {
	form := url.Values{"type": {"stream"}, "to": {z.stream}, "topic": {z.topic}, "content": {markdownOf(event, zulipText)}}
	h := http.Header{}
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	h.Set("Authorization", basic(z.target.Login, z.target.Password))
	_, err := do(ctx, z.target.Client, http.MethodPost, z.to, []byte(form.Encode()), h, maxAnswer)
	return err
}
