package receiver

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
)

// gitlab takes the webhooks of GitLab, which send the token itself.
// https://docs.gitlab.com/user/project/integrations/webhooks/
type gitlab struct{}

type gitlabPayload struct {
	ObjectKind string `json:"object_kind"`
	Ref        string `json:"ref"`
}

// Authenticate compares digests, so that not even the length can be timed.
func (gitlab) Authenticate(r Request) error {
	got, want := sha256.Sum256([]byte(r.Header.Get("X-Gitlab-Token"))), sha256.Sum256(r.Token)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return ErrSignature
	}
	return nil
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
