// Package cloudlogin logs in to the registries and Git servers of cloud providers
// with the workload identity of this program or of a service account.
//
// The protocols are those of the providers' own libraries. What is decided here
// is to whom a token may go: only to a host that belongs to the provider, whatever
// a spec names.
package cloudlogin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"
	"github.com/fluxcd/pkg/cache"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/telemetry"
)

var (
	// ErrRegistry is wrapped when a registry is not one of the provider's.
	ErrRegistry = errors.New("registry")
	// ErrRepository is wrapped when a Git repository is not one of the provider's.
	ErrRepository = errors.New("repository")
	// ErrLogin is wrapped when a provider gives no credentials.
	ErrLogin = errors.New("login")
	// ErrGate is returned when a service account is named and the feature gate
	// ObjectLevelWorkloadIdentity is off.
	ErrGate = errors.New("the feature gate " + auth.FeatureGateObjectLevelWorkloadIdentity + " is off")
)

// provider is how to log in with one cloud provider.
type provider struct {
	auth.ArtifactRegistryCredentialsProvider
	hosts *regexp.Regexp // whole names of its registries
}

var providers = map[string]provider{
	aws.ProviderName: {aws.Provider{}, regexp.MustCompile(`^(public\.ecr\.aws|\d+\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.` +
		`(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov|on\.aws))$`)},
	azure.ProviderName: {azure.Provider{}, regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.azurecr\.(io|cn|de|us)$`)},
	gcp.ProviderName:   {gcp.Provider{}, regexp.MustCompile(`^(([a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev|docker\.s3nsregistry\.fr)$`)},
}

// Request says who logs in where.
type Request struct {
	Provider       string // "aws", "azure" or "gcp"
	Repository     name.Repository
	Proxy          *url.URL // nil: as the environment says
	Kind           string   // of the object that it is for, for the metrics
	Namespace      string
	Name           string
	ServiceAccount string // in the namespace; "" for the identity of this program
}

// Logins keeps credentials until shortly before they expire. It is safe for
// concurrent use.
type Logins struct {
	o      Options
	tokens *cache.TokenCache

	mu      sync.Mutex
	proxied map[string]*cache.TokenCache // by namespace
}

// Options of Logins.
type Options struct {
	Client      client.Client // reads service accounts and makes tokens for them
	MaxTokens   int           // credentials kept; 0 means 100
	MaxDuration time.Duration // the longest that one is used; 0 means, and the most is, an hour
}

// New returns Logins.
func New(o Options) (*Logins, error) {
	if o.MaxTokens <= 0 {
		o.MaxTokens = 100
	}
	if o.MaxDuration <= 0 {
		o.MaxDuration = time.Hour
	}
	l := &Logins{o: o, proxied: map[string]*cache.TokenCache{}}
	var err error
	l.tokens, err = l.newCache(telemetry.TokenCache("registry")...)
	return l, err
}

func (l *Logins) newCache(o ...cache.Options) (*cache.TokenCache, error) {
	return cache.NewTokenCache(l.o.MaxTokens, append(o, cache.WithMaxDuration(l.o.MaxDuration))...)
}

// cache returns where the credentials of i are kept. A cache is locked while a
// credential is made, so one that comes through a proxy, which can be slow as it
// likes and is named by a tenant, is kept apart from those of other namespaces.
func (l *Logins) cache(i Identity) (*cache.TokenCache, error) {
	if i.Proxy == nil {
		return l.tokens, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.proxied[i.Namespace]
	if c == nil {
		var err error
		if c, err = l.newCache(); err != nil {
			return nil, err
		}
		l.proxied[i.Namespace] = c
	}
	return c, nil
}

// Get returns credentials for the registry of r. Errors wrap ErrRegistry, ErrLogin
// or ErrGate.
func (l *Logins) Get(ctx context.Context, r Request) (authn.AuthConfig, error) {
	p, known := providers[r.Provider]
	if !known {
		return authn.AuthConfig{}, fmt.Errorf("%w: the provider %q is not known: use \"aws\", \"azure\" or \"gcp\"", ErrRegistry, r.Provider)
	}
	if host := r.Repository.RegistryStr(); !p.hosts.MatchString(host) {
		return authn.AuthConfig{}, fmt.Errorf("%w %q is not one of the provider %q", ErrRegistry, host, r.Provider)
	}
	options, err := l.Options(Identity{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, ServiceAccount: r.ServiceAccount, Proxy: r.Proxy})
	if err != nil {
		return authn.AuthConfig{}, err
	}
	credentials, err := auth.GetArtifactRegistryCredentials(ctx, p, r.Repository.Name(), options...)
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("%w with the provider %q: %w", ErrLogin, r.Provider, err)
	}
	config, err := authn.Authorization(ctx, credentials)
	if err != nil {
		return authn.AuthConfig{}, fmt.Errorf("%w with the provider %q: %w", ErrLogin, r.Provider, err)
	}
	secrets.Register(config.Password, config.IdentityToken, config.RegistryToken)
	return *config, nil
}
