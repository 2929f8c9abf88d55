package ocirepository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/authn"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
)

// access reads how to reach the registry: the Secret comes before the pull secrets
// of the service account, and those before the login with a cloud provider.
func (r *Reconciler) access(ctx context.Context, repo *sourcev1.OCIRepository) (registry.Access, error) {
	text, found := strings.CutPrefix(repo.Spec.URL, sourcev1.OCIRepositoryPrefix)
	if !found {
		return registry.Access{}, fmt.Errorf("spec.url: %w %q: it must start with %q", registry.ErrName, repo.Spec.URL, sourcev1.OCIRepositoryPrefix)
	}
	repository, err := registry.ParseRepository(text, repo.Spec.Insecure)
	if err != nil {
		return registry.Access{}, fmt.Errorf("spec.url: %w", err)
	}
	access, err := registry.Resolve(ctx, r.o.Client, registry.Access{Repository: repository, Insecure: repo.Spec.Insecure}, registry.References{
		Namespace: repo.Namespace, SecretRef: repo.Spec.SecretRef, ServiceAccountName: repo.Spec.ServiceAccountName,
		CertSecretRef: repo.Spec.CertSecretRef, ProxySecretRef: repo.Spec.ProxySecretRef,
	})
	if err != nil || access.Auth != (authn.AuthConfig{}) || repo.Spec.Provider == "" || repo.Spec.Provider == sourcev1.GenericOCIProvider {
		return access, err
	}
	return r.login(ctx, repo, access)
}

// login adds the credentials of spec.provider to access.
func (r *Reconciler) login(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access) (registry.Access, error) {
	if repo.Spec.Insecure {
		return access, loop.Stall(sourcev1.AuthenticationFailedReason, fmt.Errorf("spec.insecure cannot be set with spec.provider %q: a cloud identity is not sent without TLS", repo.Spec.Provider))
	}
	var err error
	access.Auth, err = r.o.Logins.Get(ctx, cloudlogin.Request{
		Provider: repo.Spec.Provider, Repository: access.Repository, Proxy: access.Proxy,
		Kind: sourcev1.OCIRepositoryKind, Namespace: repo.Namespace, Name: repo.Name, ServiceAccount: repo.Spec.ServiceAccountName,
	})
	switch {
	case errors.Is(err, cloudlogin.ErrGate):
		err = loop.Stall(meta.FeatureGateDisabledReason, fmt.Errorf("spec.serviceAccountName with spec.provider %q: %w: remove the field to use the identity of the controller", repo.Spec.Provider, err))
	case errors.Is(err, cloudlogin.ErrRegistry):
		err = loop.Stall(sourcev1.AuthenticationFailedReason, fmt.Errorf("spec.provider: %w", err))
	case err != nil:
		err = fmt.Errorf("spec.provider: %w: %w", registry.ErrCredentials, err)
	}
	return access, err
}
