package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/cache"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/secrets"
)

// identity is who a sender is in a cloud: the service account of its
// Provider, or this program.
type identity struct {
	serviceAccount string // "" is this program
	accounts       client.Client
	tokens         *cache.TokenCache
	involved       cache.InvolvedObject
}

// identityOf returns the identity of a Provider. A cache of tokens is locked
// while a token is made, so a Provider whose tokens come through a proxy that
// its author names, which can be slow as it likes, has one of its own.
func (l *Loader) identityOf(p *notificationv1beta3.Provider, alone bool) (identity, error) {
	tokens := l.Tokens
	if alone {
		var err error
		if tokens, err = l.own.of(p, l.TokenAge); err != nil {
			return identity{}, err
		}
	}
	return identity{
		serviceAccount: p.Spec.ServiceAccountName, accounts: l.Accounts, tokens: tokens,
		involved: cache.InvolvedObject{Kind: notificationv1beta3.ProviderKind, Namespace: p.Namespace, Name: p.Name, Operation: cache.OperationReconcile},
	}, nil
}

// ownTokens are the caches of Providers that have one of their own. Its zero
// value is ready; it is safe for concurrent use.
type ownTokens struct {
	mu sync.Mutex
	at map[types.UID]*cache.TokenCache
}

// Bounds of the caches of single Providers.
const (
	maxOwn       = 1000 // Providers; with more, all tokens are got anew
	maxOwnTokens = 4    // of one Provider
)

func (o *ownTokens) of(p *notificationv1beta3.Provider, age time.Duration) (*cache.TokenCache, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.at[p.UID]; c != nil {
		return c, nil
	}
	if age <= 0 {
		age = time.Hour
	}
	c, err := cache.NewTokenCache(maxOwnTokens, cache.WithMaxDuration(age))
	if err != nil {
		return nil, err
	}
	if o.at == nil || len(o.at) >= maxOwn {
		o.at = map[types.UID]*cache.TokenCache{}
	}
	o.at[p.UID] = c
	return c, nil
}

// errGate is returned when a service account is named and the feature gate is
// off.
var errGate = errors.New("spec.serviceAccountName needs the feature gate " + auth.FeatureGateObjectLevelWorkloadIdentity)

// check says whether the identity may be used beside a Secret's credential.
func (i identity) check(credential string) error {
	switch {
	case i.serviceAccount == "":
		return nil
	case credential != "":
		return fmt.Errorf("%w: spec.serviceAccountName and the credential of the secret exclude each other", ErrInvalid)
	case !auth.IsObjectLevelWorkloadIdentityEnabled():
		return fmt.Errorf("%w: %w", ErrInvalid, errGate)
	}
	return nil
}

// options are those with which auth.GetAccessToken gets tokens of the identity.
func (t *Target) options(scopes ...string) []auth.Option {
	i := t.Identity
	options := []auth.Option{auth.WithScopes(scopes...)}
	if i.serviceAccount != "" {
		options = append(options, auth.WithClient(i.accounts), auth.WithServiceAccountNamespace(i.involved.Namespace), auth.WithServiceAccountName(i.serviceAccount))
	}
	if i.tokens != nil {
		options = append(options, auth.WithCache(*i.tokens, i.involved))
	}
	if t.Proxy != nil {
		options = append(options, auth.WithProxyURL(*t.Proxy))
	}
	return options
}

// bearer puts an access token, a fresh one where needed, on each request.
type bearer struct {
	base  http.RoundTripper
	token func(ctx context.Context) (string, error)
}

// withToken returns c with access tokens on its requests.
func withToken(c *http.Client, token func(context.Context) (string, error)) *http.Client {
	with := *c
	with.Transport = bearer{base: c.Transport, token: token}
	return &with
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.token(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as the interface demands; nothing was read
		}
		return nil, err
	}
	secrets.Register(token)
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.base.RoundTrip(r)
}
