package receiver

import (
	"context"
	"fmt"
	"mime"
	"net/url"
)

// github takes the webhooks of GitHub.
// https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
type github struct{}

// githubPayload names the fields that are checked; the rest may be anything.
type githubPayload struct {
	Ref        string `json:"ref"`
	Action     string `json:"action"`
	Repository *struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
}

// Authenticate prefers the SHA-256 signature; the SHA-1 one counts only when
// the other is absent.
func (github) Authenticate(_ context.Context, r Request) (Claims, error) {
	if s := r.Header.Get("X-Hub-Signature-256"); s != "" {
		return nil, checkHMAC(s, r.Body, r.Token, "sha256")
	}
	return nil, checkHMAC(r.Header.Get("X-Hub-Signature"), r.Body, r.Token, "sha1")
}

func (github) Read(r Request) (Call, error) {
	event := r.Header.Get("X-GitHub-Event")
	if event == "" {
		return Call{}, fmt.Errorf("%w: the header X-GitHub-Event is missing", ErrPayload)
	}
	body, err := githubBody(r)
	if err != nil {
		return Call{}, err
	}
	if err := decodeObject(body, &githubPayload{}); err != nil {
		return Call{}, err
	}
	return Call{Event: event, Ping: event == "ping"}, nil
}

// githubBody unwraps a webhook that is set to send forms.
func githubBody(r Request) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return r.Body, nil
	}
	form, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return nil, fmt.Errorf("%w: the form cannot be read", ErrPayload)
	}
	return []byte(form.Get("payload")), nil
}
