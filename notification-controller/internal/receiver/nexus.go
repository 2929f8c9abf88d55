package receiver

import "context"

// nexus takes the webhooks of Sonatype Nexus Repository.
// https://help.sonatype.com/en/working-with-hmac-payloads.html
type nexus struct{}

type nexusPayload struct {
	Action     string `json:"action"`
	Repository string `json:"repositoryName"`
}

// Authenticate checks the HMAC-SHA1, which the header holds without a prefix.
func (nexus) Authenticate(_ context.Context, r Request) (Claims, error) {
	return nil, checkHMAC("sha1="+r.Header.Get("X-Nexus-Webhook-Signature"), r.Body, r.Token, "sha1")
}

func (nexus) Read(r Request) (Call, error) { return Call{}, decodeObject(r.Body, &nexusPayload{}) }
