// Package gitauth finds out what a GitRepository is reached with: from its provider,
// its Secret, its service account and its proxy.
//
// Whoever reads or writes the repository asks here, so that one who may read it
// with some credentials may push with the same.
package gitauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	fluxauth "github.com/fluxcd/pkg/auth"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/secrets"
)

var (
	// ErrSpec is wrapped when the fields of the spec do not go together; it needs an edit.
	ErrSpec = errors.New("spec.provider")
	// ErrProvider is wrapped when the Secret is not what the provider needs.
	ErrProvider = errors.New("the Secret does not suit spec.provider")
	// ErrGate is returned when a service account is named and the feature gate
	// ObjectLevelWorkloadIdentity is off.
	ErrGate = cloudlogin.ErrGate
	// ErrSecret is wrapped when a Secret cannot be used, or is not there.
	ErrSecret = errors.New("spec.secretRef")
	// ErrProxy is wrapped when the Secret of spec.proxySecretRef cannot be used, or
	// is not there.
	ErrProxy = errors.New("spec.proxySecretRef")
	// ErrLogin is wrapped when a provider gives no credentials.
	ErrLogin = errors.New("getting credentials")
)

// Options of a Reader.
type Options struct {
	Secrets client.Reader
	Logins  *cloudlogin.Logins // of cloud providers
	Apps    *githubapp.Tokens
}

// Reader reads credentials. It is safe for concurrent use.
type Reader struct{ o Options }

// New returns a Reader.
func New(o Options) *Reader { return &Reader{o} }

// source is a GitRepository with what was read for it.
type source struct {
	*sourcev1.GitRepository
	url    *url.URL
	secret map[string][]byte
	proxy  *url.URL
}

// Auth returns what repo is reached with. Errors wrap those of this package,
// gitrepo.ErrURL or gitrepo.ErrAuth; others are of the API server.
func (r *Reader) Auth(ctx context.Context, repo *sourcev1.GitRepository) (gitrepo.Auth, error) {
	s, err := r.read(ctx, repo)
	if err != nil {
		return gitrepo.Auth{}, err
	}
	login, err := s.login()
	if err != nil {
		return gitrepo.Auth{}, err
	}
	data := s.secret
	if login != nil { // the provider's credentials take the place of those in the Secret
		data = map[string][]byte{}
		for _, key := range []string{"ca.crt", "caFile", "tls.crt", "certFile", "tls.key", "keyFile"} {
			data[key] = s.secret[key]
		}
	}
	auth, err := gitrepo.ParseAuth(repo.Spec.URL, data)
	if err != nil {
		if repo.Spec.SecretRef != nil && !errors.Is(err, gitrepo.ErrURL) {
			err = fmt.Errorf("%w: secret %q: %w", ErrSecret, repo.Spec.SecretRef.Name, err)
		}
		return gitrepo.Auth{}, err
	}
	auth.Proxy = s.proxy
	if login != nil {
		err = login(ctx, r, s, &auth)
	}
	return auth, err
}

// read gets the Secrets.
func (r *Reader) read(ctx context.Context, repo *sourcev1.GitRepository) (*source, error) {
	s := &source{GitRepository: repo}
	var err error
	if s.url, err = url.Parse(repo.Spec.URL); err != nil {
		s.url = &url.URL{} // the error repeats the URL; ParseAuth says what is wrong
	}
	if ref := repo.Spec.SecretRef; ref != nil {
		if s.secret, err = r.get(ctx, ErrSecret, repo.Namespace, ref.Name); err != nil {
			return nil, err
		}
	}
	if ref := repo.Spec.ProxySecretRef; ref != nil {
		data, err := r.get(ctx, ErrProxy, repo.Namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		if s.proxy, err = parseProxy(data); err != nil {
			return nil, fmt.Errorf("%w: secret %q: %w", ErrProxy, ref.Name, err)
		}
	}
	return s, nil
}

func (r *Reader) get(ctx context.Context, field error, namespace, name string) (map[string][]byte, error) {
	secret, err := secrets.Get(ctx, r.o.Secrets, namespace, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", field, err)
	}
	return secret.Data, nil
}

func parseProxy(data map[string][]byte) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(string(data["address"])))
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return nil, fmt.Errorf("key %q is no http, https or socks5 URL", "address")
	}
	if user := string(data["username"]); user != "" {
		u.User = url.UserPassword(user, string(data["password"]))
	}
	return u, nil
}

// login sets the credentials of a provider in auth.
type login func(ctx context.Context, r *Reader, s *source, auth *gitrepo.Auth) error

// login returns how the spec wants to log in; nil when the Secret says all.
func (s *source) login() (login, error) {
	provider := s.Spec.Provider
	if provider == "" {
		provider = sourcev1.GitProviderGeneric
	}
	cloud := provider == sourcev1.GitProviderAzure || provider == sourcev1.GitProviderAWS
	switch {
	case s.Spec.ServiceAccountName != "" && !cloud:
		return nil, fmt.Errorf("%w %q takes no spec.serviceAccountName: only \"aws\" and \"azure\" do", ErrSpec, provider)
	case provider != sourcev1.GitProviderGeneric && strings.EqualFold(s.url.Scheme, "ssh"):
		return nil, fmt.Errorf("%w %q needs an https URL", ErrSpec, provider)
	case cloud:
		return cloudLogin, nil
	case provider == sourcev1.GitProviderGitHub && s.Spec.SecretRef == nil:
		return nil, fmt.Errorf("%w %q needs spec.secretRef, a Secret with the keys of a GitHub App", ErrSpec, provider)
	case provider == sourcev1.GitProviderGitHub:
		return appLogin, nil
	case provider != sourcev1.GitProviderGeneric:
		return nil, fmt.Errorf("%w %q is not known: use \"generic\", \"github\", \"azure\" or \"aws\"", ErrSpec, provider)
	case githubapp.Described(s.secret):
		return nil, fmt.Errorf("%w: secret %q describes a GitHub App: set spec.provider to \"github\"", ErrProvider, s.Spec.SecretRef.Name)
	}
	return nil, nil
}

func cloudLogin(ctx context.Context, r *Reader, s *source, auth *gitrepo.Auth) error {
	c, err := r.o.Logins.Git(ctx, s.Spec.Provider, s.url, cloudlogin.Identity{
		Kind: sourcev1.GitRepositoryKind, Namespace: s.Namespace, Name: s.Name, ServiceAccount: s.Spec.ServiceAccountName, Proxy: s.proxy,
	})
	switch {
	case errors.Is(err, cloudlogin.ErrRepository):
		return fmt.Errorf("%w: %w", ErrSpec, err)
	case errors.Is(err, ErrGate):
		return fmt.Errorf("spec.serviceAccountName: %w", err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLogin, err)
	}
	auth.BearerToken = c.BearerToken
	if c.BearerToken == "" {
		auth.Username, auth.Password = c.Username, c.Password
	}
	// The owner of the token is the account; the program's own is one for all.
	auth.Scope = s.Spec.Provider
	if account := cmp.Or(s.Spec.ServiceAccountName, fluxauth.GetDefaultServiceAccount()); account != "" {
		auth.Scope += " " + s.Namespace + "/" + account
	}
	return nil
}

func appLogin(ctx context.Context, r *Reader, s *source, auth *gitrepo.Auth) error {
	app, err := githubapp.Parse(s.secret)
	if err != nil {
		return fmt.Errorf("%w %q: secret %q: %w", ErrProvider, s.Spec.Provider, s.Spec.SecretRef.Name, err)
	}
	rt, err := auth.Transport()
	if err != nil {
		return err
	}
	defer rt.CloseIdleConnections()
	token, err := r.o.Apps.Get(ctx, app, rt)
	if busy, ok := errors.AsType[*githubapp.Busy](err); ok {
		return fmt.Errorf("%w: %w: %w", ErrLogin, err, gitrepo.Busy("GitHub's API "+busy.Error(), busy.After))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLogin, err)
	}
	secrets.Register(token)
	auth.Username, auth.Password, auth.Scope = githubapp.Username, token, app.Identity()
	return nil
}
