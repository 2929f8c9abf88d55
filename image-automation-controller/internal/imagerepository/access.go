package imagerepository

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/registry"
)

// genericProvider is the provider that needs no login.
const genericProvider = "generic"

// errInsecureLogin is wrapped when a cloud identity would travel without TLS.
var errInsecureLogin = errors.New("spec.insecure cannot be set: a cloud identity is not sent without TLS")

// Image returns the repository that spec.image names. Errors wrap
// registry.ErrName.
func Image(repo *imagev1.ImageRepository) (name.Repository, error) {
	image, err := registry.ParseRepository(repo.Spec.Image, repo.Spec.Insecure)
	if err != nil {
		return image, fmt.Errorf("spec.image: %w", err)
	}
	return image, nil
}

// Access says how ImageRepositories are reached.
type Access struct {
	Reader client.Reader // reads Secrets and service accounts live
	Logins *cloudlogin.Logins
}

// Of reads how to reach the image of repo: the Secret comes before the pull
// secrets of the service account, and those before the login with a cloud
// provider. Classify knows its errors.
func (a Access) Of(ctx context.Context, repo *imagev1.ImageRepository) (registry.Access, error) {
	image, err := Image(repo)
	if err != nil {
		return registry.Access{}, err
	}
	access, err := registry.Resolve(ctx, a.Reader, registry.Access{Repository: image, Insecure: repo.Spec.Insecure}, registry.References{
		Namespace: repo.Namespace, SecretRef: repo.Spec.SecretRef, ServiceAccountName: repo.Spec.ServiceAccountName,
		CertSecretRef: repo.Spec.CertSecretRef, ProxySecretRef: repo.Spec.ProxySecretRef,
	})
	provider := repo.GetProvider()
	if err != nil || access.Auth != (authn.AuthConfig{}) || provider == genericProvider {
		return access, err
	}
	if repo.Spec.Insecure {
		return access, fmt.Errorf("spec.provider %q: %w", provider, errInsecureLogin)
	}
	access.Auth, err = a.Logins.Get(ctx, cloudlogin.Request{
		Provider: provider, Repository: image, Proxy: access.Proxy,
		Kind: imagev1.ImageRepositoryKind, Namespace: repo.Namespace, Name: repo.Name, ServiceAccount: repo.Spec.ServiceAccountName,
	})
	if err != nil {
		return access, fmt.Errorf("spec.provider %q: %w", provider, err)
	}
	return access, nil
}
