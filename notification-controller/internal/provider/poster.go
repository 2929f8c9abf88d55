package provider

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// poster sends each event as one JSON message, posted to one address.
type poster struct {
	client  *http.Client
	to      *url.URL
	header  http.Header
	message func(event *eventv1.Event) any
	// check reads what an answer of status 200 says; nil takes it as success.
	check func(answer []byte) error
}

// newPoster returns a poster to the target's address, without credentials.
func newPoster(t Target, message func(*eventv1.Event) any) (*poster, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	return &poster{client: t.Client, to: to, header: http.Header{}, message: message}, nil
}

func (p *poster) Send(ctx context.Context, event *eventv1.Event) error {
	answer, err := postJSON(ctx, p.client, p.to, p.message(event), p.header)
	if err != nil || p.check == nil {
		return err
	}
	return p.check(answer)
}

// authorization is the value of the header Authorization that the target's
// token, or its username and password, make; "" when it has neither.
func (t *Target) authorization() string {
	switch {
	case t.Token != "":
		return "Bearer " + t.Token
	case t.Login != "":
		return basic(t.Login, t.Password)
	}
	return ""
}

// authorize adds the target's credentials, if it has any.
func (t *Target) authorize(h http.Header) {
	if v := t.authorization(); v != "" {
		h.Set("Authorization", v)
	}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// needToken reports a Secret without a token.
func (t *Target) needToken() error {
	if t.Token == "" {
		return fmt.Errorf("%w: the key \"token\" of the secret is missing or empty", ErrInvalid)
	}
	return nil
}

// needChannel reports a missing spec.channel; what says what it holds.
func (t *Target) needChannel(what string) error {
	if t.Channel == "" {
		return fmt.Errorf("%w: spec.channel is missing: it names %s", ErrInvalid, what)
	}
	return nil
}

// senderOf keeps a nil poster from becoming a Sender that is not nil.
func senderOf(p *poster, err error) (Sender, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// skipProgress keeps back events that say only that work has begun: they
// neither open an incident nor resolve one.
type skipProgress struct{ Sender }

func (s skipProgress) Send(ctx context.Context, event *eventv1.Event) error {
	if !isError(event) && !recovers(event) {
		return nil
	}
	return s.Sender.Send(ctx, event)
}
