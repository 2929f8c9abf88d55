package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
)

// open returns the mirror of the repository for the credentials of spec.secretRef.
func (r *Reconciler) open(ctx context.Context, repo *sourcev1.GitRepository) (*gitrepo.Repo, error) {
	var data map[string][]byte
	if ref := repo.Spec.SecretRef; ref != nil {
		secret, err := secrets.Get(ctx, r.o.Client, repo.Namespace, ref.Name)
		if errors.Is(err, secrets.ErrNotFound) {
			return nil, loop.Retry(sourcev1.AuthenticationFailedReason, fmt.Errorf("spec.secretRef: %w", err))
		}
		if err != nil {
			return nil, fmt.Errorf("spec.secretRef: %w", err)
		}
		data = secret.Data
	}
	auth, err := gitrepo.ParseAuth(repo.Spec.URL, data)
	if err != nil {
		if repo.Spec.SecretRef != nil && !errors.Is(err, gitrepo.ErrURL) {
			err = fmt.Errorf("secret %q: %w", repo.Spec.SecretRef.Name, err)
		}
		return nil, failure(ctx, repo, err)
	}
	if auth.Proxy, err = r.proxy(ctx, repo); err != nil {
		return nil, failure(ctx, repo, err)
	}
	remote, err := r.o.Mirrors.Open(repo.Spec.URL, auth)
	if err != nil {
		return nil, failure(ctx, repo, err)
	}
	return remote, nil
}

var errProxy = errors.New("spec.proxySecretRef")

// proxy reads the Secret of spec.proxySecretRef; nil without one.
func (r *Reconciler) proxy(ctx context.Context, repo *sourcev1.GitRepository) (*url.URL, error) {
	ref := repo.Spec.ProxySecretRef
	if ref == nil {
		return nil, nil
	}
	secret, err := secrets.Get(ctx, r.o.Client, repo.Namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProxy, err)
	}
	proxy, err := url.Parse(strings.TrimSpace(string(secret.Data["address"])))
	if err != nil || proxy.Host == "" || proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("%w: secret %q: key %q is no http or https URL", errProxy, ref.Name, "address")
	}
	if user := string(secret.Data["username"]); user != "" {
		proxy.User = url.UserPassword(user, string(secret.Data["password"]))
	}
	return proxy, nil
}

func reference(ref *sourcev1.GitRepositoryRef) gitrepo.Ref {
	if ref == nil {
		return gitrepo.Ref{}
	}
	return gitrepo.Ref{Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, Name: ref.Name, Commit: ref.Commit}
}
