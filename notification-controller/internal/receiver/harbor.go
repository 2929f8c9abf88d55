package receiver

// harbor takes the webhooks of Harbor, which send the token itself.
// https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/
type harbor struct{}

func (harbor) Authenticate(r Request) error {
	return checkToken(r.Header.Get("Authorization"), r.Token)
}

func (harbor) Read(r Request) (Call, error) { return Call{}, decodeObject(r.Body, &struct{}{}) }
