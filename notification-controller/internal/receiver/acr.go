package receiver

import (
	"context"
	"fmt"
)

// acr takes the webhooks of Azure Container Registry, which have no signature.
// https://learn.microsoft.com/azure/container-registry/container-registry-webhook-reference
type acr struct{}

type acrPayload struct {
	Action string `json:"action"`
	Target struct {
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
	} `json:"target"`
}

func (acr) Authenticate(context.Context, Request) (Claims, error) { return nil, nil }

func (acr) Read(r Request) (Call, error) {
	var p acrPayload
	if err := decodeObject(r.Body, &p); err != nil {
		return Call{}, err
	}
	if p.Action == "" {
		return Call{}, fmt.Errorf("%w: action is missing", ErrPayload)
	}
	return Call{Ping: p.Action == "ping"}, nil
}
