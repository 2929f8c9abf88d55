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

// Address is a cluster that is reached with tokens of a service account of the
// cluster that the controller runs in.
type Address struct {
	Host      string // https URL
	CA        []byte // PEM; nil trusts the system's
	Audiences []string
	Account   string // service account in the namespace of the owner
}

// Token is a bearer token and when it ends.
type Token struct {
	Value   string
	Expires time.Time
}

// ParseAddress reads the data of the ConfigMap that spec.kubeConfig.configMapRef
// names. account is who acts when it names nobody.
func ParseAddress(data map[string]string, account string) (Address, error) {
	if p := data["provider"]; p != "generic" {
		return Address{}, fmt.Errorf("%w: provider %q; this version supports \"generic\"", ErrProvider, p)
	}
	a := Address{Host: data["address"], Account: data["serviceAccountName"], CA: []byte(data["ca.crt"])}
	if a.Account == "" {
		a.Account = account
	}
	for line := range strings.Lines(data["audiences"]) {
		if line = strings.TrimSpace(line); line != "" {
			a.Audiences = append(a.Audiences, line)
		}
	}
	if len(a.Audiences) == 0 {
		a.Audiences = []string{a.Host}
	}
	slices.Sort(a.Audiences)
	switch at, err := url.Parse(a.Host); {
	case err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil:
		return Address{}, fmt.Errorf("%w: address must be an https URL", ErrKubeconfig)
	case a.Account == "":
		return Address{}, fmt.Errorf("%w: serviceAccountName is missing; the controller's own identity is not lent", ErrKubeconfig)
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
