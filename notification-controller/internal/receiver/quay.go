package receiver

import (
	"context"
	"fmt"
)

// quay takes the webhooks of Quay, which have no signature.
// https://docs.quay.io/guides/notifications.html
type quay struct{}

type quayPayload struct {
	URL  string   `json:"docker_url"`
	Tags []string `json:"updated_tags"`
}

func (quay) Authenticate(context.Context, Request) (Claims, error) { return nil, nil }

func (quay) Read(r Request) (Call, error) {
	var p quayPayload
	if err := decodeObject(r.Body, &p); err != nil {
		return Call{}, err
	}
	if p.URL == "" {
		return Call{}, fmt.Errorf("%w: docker_url is missing", ErrPayload)
	}
	return Call{}, nil
}
