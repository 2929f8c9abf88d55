// Package chartrepo reads files of Helm repositories over HTTP(S).
//
// Credentials go to the repository's own host and, unless that is asked for, to no
// other: neither when the index points there nor when a server redirects there.
package chartrepo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/upstream"
)

var (
	// ErrURL is wrapped when an address cannot be used.
	ErrURL = errors.New("URL")
	// ErrRedirect is wrapped when a server redirects to where it must not.
	ErrRedirect = errors.New("redirect")
	// ErrCredentials is wrapped when credentials are missing, malformed or refused.
	ErrCredentials = errors.New("credentials")
)

// Access is how to reach a repository.
type Access struct {
	URL                *url.URL // ends with "/"
	Username, Password string
	PassCredentials    bool // also to other hosts
	TLS                upstream.Material
}

// Resolve reads how to reach repo, which is of the type default. Errors name the
// field; they wrap ErrURL or ErrCredentials, or are those of the API server.
func Resolve(ctx context.Context, c client.Reader, repo *sourcev1.HelmRepository) (Access, error) {
	a := Access{PassCredentials: repo.Spec.PassCredentials}
	var err error
	if a.URL, err = parseURL(repo.Spec.URL); err != nil {
		return a, fmt.Errorf("spec.url: %w", err)
	}
	if ref := repo.Spec.SecretRef; ref != nil {
		s, err := secret(ctx, c, repo.Namespace, ref)
		if err != nil {
			return a, fmt.Errorf("spec.secretRef: %w", err)
		}
		if err := a.login(s); err != nil {
			return a, fmt.Errorf("spec.secretRef: %w", err)
		}
	}
	if ref := repo.Spec.CertSecretRef; ref != nil {
		s, err := secret(ctx, c, repo.Namespace, ref)
		if err != nil {
			return a, fmt.Errorf("spec.certSecretRef: %w", err)
		}
		if a.TLS, err = upstream.ReadMaterial(s); err != nil {
			return a, fmt.Errorf("spec.certSecretRef: %w: %w", ErrCredentials, err)
		}
	}
	if _, err := a.TLS.Config(); err != nil {
		return a, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return a, nil
}

// parseURL reads the address of a repository.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w %q cannot be parsed", ErrURL, secrets.Redact(text))
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w %q: it must start with \"https://\" or \"http://\"; a registry needs spec.type \"oci\"", ErrURL, secrets.Redact(text))
	case u.Host == "":
		return nil, fmt.Errorf("%w %q has no host", ErrURL, secrets.Redact(text))
	case u.User != nil:
		return nil, fmt.Errorf("%w %q has credentials in it: put them into a Secret and name it in spec.secretRef", ErrURL, secrets.Redact(text))
	}
	u.Fragment = ""
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
		u.RawPath = ""
	}
	return u, nil
}

func secret(ctx context.Context, c client.Reader, namespace string, ref *meta.LocalObjectReference) (*corev1.Secret, error) {
	s, err := secrets.Get(ctx, c, namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return s, nil
}

// login reads user name and password, and TLS material under its old names.
func (a *Access) login(s *corev1.Secret) error {
	user, hasUser := s.Data["username"]
	word, hasWord := s.Data["password"]
	a.Username, a.Password = string(user), string(word)
	a.TLS = upstream.FindMaterial(s)
	switch {
	case hasUser != hasWord:
		return fmt.Errorf("%w: the secret %q has only one of \"username\" and \"password\"", ErrCredentials, s.Name)
	case !hasUser && a.TLS.Empty():
		return fmt.Errorf("%w: the secret %q has neither \"username\" and \"password\" nor TLS material", ErrCredentials, s.Name)
	}
	return nil
}
