package receiver

import (
	"context"
	"fmt"
)

// gitlab takes the webhooks of GitLab, which send the token itself.
// https://docs.gitlab.com/user/project/integrations/webhooks/
type gitlab struct{}

type gitlabPayload struct {
	ObjectKind string `json:"object_kind"`
	Ref        string `json:"ref"`
}

func (gitlab) Authenticate(_ context.Context, r Request) (Claims, error) {
	return nil, checkToken(r.Header.Get("X-Gitlab-Token"), r.Token)
}

func (gitlab) Read(r Request) (Call, error) {
	event := r.Header.Get("X-Gitlab-Event")
	if event == "" {
		return Call{}, fmt.Errorf("%w: the header X-Gitlab-Event is missing", ErrPayload)
	}
	if err := decodeObject(r.Body, &gitlabPayload{}); err != nil {
		return Call{}, err
	}
	return Call{Event: event}, nil
}
