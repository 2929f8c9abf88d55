package receiver

import "context"

// harbor takes the webhooks of Harbor, which send the token itself.
// https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/
type harbor struct{}

func (harbor) Authenticate(_ context.Context, r Request) (Claims, error) {
	return nil, checkToken(r.Header.Get("Authorization"), r.Token)
}

func (harbor) Read(r Request) (Call, error) { return Call{}, decodeObject(r.Body, &struct{}{}) }
