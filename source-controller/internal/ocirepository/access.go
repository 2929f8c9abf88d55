package ocirepository

import (
	"context"
	"fmt"
	"strings"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/registry"
)

// access reads how to reach the registry.
func (r *Reconciler) access(ctx context.Context, repo *sourcev1.OCIRepository) (registry.Access, error) {
	text, found := strings.CutPrefix(repo.Spec.URL, sourcev1.OCIRepositoryPrefix)
	if !found {
		return registry.Access{}, fmt.Errorf("spec.url: %w %q: it must start with %q", registry.ErrName, repo.Spec.URL, sourcev1.OCIRepositoryPrefix)
	}
	repository, err := registry.ParseRepository(text, repo.Spec.Insecure)
	if err != nil {
		return registry.Access{}, fmt.Errorf("spec.url: %w", err)
	}
	return registry.Resolve(ctx, r.o.Client, registry.Access{Repository: repository, Insecure: repo.Spec.Insecure}, registry.References{
		Namespace: repo.Namespace, SecretRef: repo.Spec.SecretRef, ServiceAccountName: repo.Spec.ServiceAccountName,
		CertSecretRef: repo.Spec.CertSecretRef, ProxySecretRef: repo.Spec.ProxySecretRef,
	})
}
