package imagerepository

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/registry"
)

// errUnsupported is wrapped when a field asks for what is not built yet.
var errUnsupported = errors.New("not supported yet")

// Image returns the repository that spec.image names. Errors wrap
// registry.ErrName.
func Image(repo *imagev1.ImageRepository) (name.Repository, error) {
	image, err := registry.ParseRepository(repo.Spec.Image, repo.Spec.Insecure)
	if err != nil {
		return image, fmt.Errorf("spec.image: %w", err)
	}
	return image, nil
}

// Access reads the Secrets and the service account that say how to reach the
// image. Classify knows its errors.
func Access(ctx context.Context, c client.Reader, repo *imagev1.ImageRepository) (registry.Access, error) {
	image, err := Image(repo)
	if err != nil {
		return registry.Access{}, err
	}
	if p := repo.GetProvider(); p != "generic" {
		return registry.Access{}, fmt.Errorf("spec.provider %q is %w; use \"generic\" with a secretRef", p, errUnsupported)
	}
	return registry.Resolve(ctx, c, registry.Access{Repository: image, Insecure: repo.Spec.Insecure}, registry.References{
		Namespace: repo.Namespace, SecretRef: repo.Spec.SecretRef, ServiceAccountName: repo.Spec.ServiceAccountName,
		CertSecretRef: repo.Spec.CertSecretRef, ProxySecretRef: repo.Spec.ProxySecretRef,
	})
}
