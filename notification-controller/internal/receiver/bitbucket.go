package receiver

import (
	"context"
	"fmt"
)

// bitbucket takes the webhooks of Bitbucket Cloud, Server and Data Center.
// https://confluence.atlassian.com/bitbucketserver/manage-webhooks-938025878.html
type bitbucket struct{}

// Authenticate checks X-Hub-Signature, which has SHA-256 in spite of its name.
func (bitbucket) Authenticate(_ context.Context, r Request) (Claims, error) {
	return nil, checkHMAC(r.Header.Get("X-Hub-Signature"), r.Body, r.Token, "sha256", "sha1")
}

func (bitbucket) Read(r Request) (Call, error) {
	event := r.Header.Get("X-Event-Key")
	if event == "" {
		return Call{}, fmt.Errorf("%w: the header X-Event-Key is missing", ErrPayload)
	}
	if err := decodeObject(r.Body, &struct{}{}); err != nil {
		return Call{}, err
	}
	return Call{Event: event, Ping: event == "diagnostics:ping"}, nil
}
