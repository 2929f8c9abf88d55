package cloudlogin

import (
	"net/url"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/cache"
)

// Identity says whose access tokens of a cloud provider are wanted.
type Identity struct {
	Kind           string // of the object that it is for, for the metrics
	Namespace      string
	Name           string
	ServiceAccount string   // in the namespace; "" for the identity of this program
	Region         string   // of the token service, where the provider has some; "" for its default
	STSEndpoint    string   // of the token service; "" for its default
	Proxy          *url.URL // nil: as the environment says
}

// Options returns the options for auth.GetAccessToken, which then keeps tokens
// where l does. Errors are ErrGate.
func (l *Logins) Options(i Identity) ([]auth.Option, error) {
	tokens, err := l.cache(i)
	if err != nil {
		return nil, err
	}
	options := []auth.Option{
		auth.WithClient(l.o.Client), auth.WithServiceAccountNamespace(i.Namespace),
		auth.WithCache(*tokens, cache.InvolvedObject{Kind: i.Kind, Namespace: i.Namespace, Name: i.Name, Operation: cache.OperationReconcile}),
	}
	if i.ServiceAccount != "" {
		if !auth.IsObjectLevelWorkloadIdentityEnabled() {
			return nil, ErrGate
		}
		options = append(options, auth.WithServiceAccountName(i.ServiceAccount))
	}
	if i.Region != "" {
		options = append(options, auth.WithSTSRegion(i.Region))
	}
	if i.STSEndpoint != "" {
		options = append(options, auth.WithSTSEndpoint(i.STSEndpoint))
	}
	if i.Proxy != nil {
		options = append(options, auth.WithProxyURL(*i.Proxy))
	}
	return options, nil
}
