package receiver

import (
	"context"
	"fmt"
)

// dockerhub takes the webhooks of Docker Hub, which have no signature.
// https://docs.docker.com/docker-hub/repos/manage/webhooks/
type dockerhub struct{}

type dockerhubPayload struct {
	PushData struct {
		Tag string `json:"tag"`
	} `json:"push_data"`
	Repository struct {
		URL string `json:"repo_url"`
	} `json:"repository"`
}

func (dockerhub) Authenticate(context.Context, Request) (Claims, error) { return nil, nil }

func (dockerhub) Read(r Request) (Call, error) {
	var p dockerhubPayload
	if err := decodeObject(r.Body, &p); err != nil {
		return Call{}, err
	}
	if p.PushData.Tag == "" || p.Repository.URL == "" {
		return Call{}, fmt.Errorf("%w: push_data.tag or repository.repo_url is missing", ErrPayload)
	}
	return Call{}, nil
}
