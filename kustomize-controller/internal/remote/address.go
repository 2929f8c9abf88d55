package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// ErrProvider is wrapped by errors about providers that are not supported.
var ErrProvider = errors.New("provider not supported")

// Generic is the provider of clusters that trust the tokens of this one. The
// others are clouds.
const Generic = "generic"

// Address is a cluster that is reached with tokens of a service account of the
// cluster that the controller runs in, or with what a cloud gives for them.
type Address struct {
	Provider  string // Generic, "aws", "azure" or "gcp"
	Cluster   string // the resource name in the cloud
	Host      string // https URL; of clouds "" when the cloud is to be asked
	CA        []byte // PEM; nil trusts the system's, or asks the cloud
	Audiences []string
	Account   string // service account in the namespace of the owner; of clouds "" is the controller's own
}

// Connection is what a cloud says of a cluster, and a token for it.
type Connection struct {
	Host string
	CA   []byte
	Token
}

// Token is a bearer token and when it ends.
type Token struct {
	Value   string
	Expires time.Time
}

// ParseAddress reads the data of the ConfigMap that spec.kubeConfig.configMapRef
// names. account is who acts when it names nobody.
func ParseAddress(data map[string]string, account string) (Address, error) {
	a := Address{Provider: data["provider"], Cluster: data["cluster"], Host: data["address"],
		CA: []byte(data["ca.crt"]), Account: data["serviceAccountName"]}
	if !slices.Contains([]string{Generic, "aws", "azure", "gcp"}, a.Provider) {
		return Address{}, fmt.Errorf("%w: provider %q is none of aws, azure, gcp and generic", ErrProvider, a.Provider)
	}
	if a.Account == "" {
		a.Account = account
	}
	for line := range strings.Lines(data["audiences"]) {
		if line = strings.TrimSpace(line); line != "" {
			a.Audiences = append(a.Audiences, line)
		}
	}
	slices.Sort(a.Audiences)
	at, err := url.Parse(a.Host)
	valid := err == nil && at.Scheme == "https" && at.Host != "" && at.User == nil
	switch {
	case a.Provider == Generic && !valid:
		return Address{}, fmt.Errorf("%w: address must be an https URL", ErrKubeconfig)
	case a.Provider == Generic && a.Account == "":
		return Address{}, fmt.Errorf("%w: serviceAccountName is missing; the controller's own identity is not lent", ErrKubeconfig)
	case a.Provider == Generic && len(a.Audiences) == 0:
		a.Audiences = []string{a.Host}
	case a.Provider == Generic:
	case a.Host != "" && !valid:
		return Address{}, fmt.Errorf("%w: address must be an https URL, or be left out for the cloud to be asked", ErrKubeconfig)
	case a.Cluster == "" && (a.Provider == "aws" || a.Host == "" || len(a.CA) == 0):
		return Address{}, fmt.Errorf("%w: cluster is missing: the name of the cluster's resource in the cloud", ErrKubeconfig)
	}
	return a, nil
}

func (a Address) config(token func(context.Context) (Token, error)) (*rest.Config, error) {
	cfg := dialed(&rest.Config{Host: a.Host, TLSClientConfig: rest.TLSClientConfig{CAData: a.CA}})
	if len(a.CA) == 0 {
		cfg.CAData = nil
	}
	source := &tokens{get: token}
	cfg.WrapTransport = func(next http.RoundTripper) http.RoundTripper { return bearer{next, source} }
	return cfg, nil
}

// tokens renews a token when less than a fifth of its life is left.
type tokens struct {
	get func(context.Context) (Token, error)

	mu    sync.Mutex
	now   Token
	renew time.Time
}

func (t *tokens) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now.Value != "" && time.Now().Before(t.renew) {
		return t.now.Value, nil
	}
	next, err := t.get(ctx)
	if err != nil {
		return "", err
	}
	t.now, t.renew = next, time.Now().Add(time.Until(next.Expires)*4/5)
	return next.Value, nil
}

// bearer authenticates requests with a token.
type bearer struct {
	http.RoundTripper
	tokens *tokens
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.tokens.token(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.RoundTripper.RoundTrip(r)
}
