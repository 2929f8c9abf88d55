package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// generic posts the event itself as JSON, with the name of the controller
// that reported it in the header gotk-component.
type generic struct {
	to     *url.URL
	target Target
}

func newGeneric(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	return &generic{to: to, target: t}, nil
}

func (g *generic) Send(ctx context.Context, event *eventv1.Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	_, err = do(ctx, g.target.Client, http.MethodPost, g.to, body, g.header(event), maxAnswer)
	return err
}

// header builds the request's headers: those of the Secret win over the
// Authorization that its token, or its username and password, make.
func (g *generic) header(event *eventv1.Event) http.Header {
	h := http.Header{}
	g.target.authorize(h)
	for name, value := range g.target.Headers {
		h.Set(name, value)
	}
	h.Set("gotk-component", event.ReportingController)
	return h
}
