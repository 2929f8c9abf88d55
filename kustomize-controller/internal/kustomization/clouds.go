package kustomization

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/kustomize-controller/internal/remote"
)

// clouds are the providers of spec.kubeConfig.configMapRef besides "generic".
var clouds = map[string]auth.RESTConfigProvider{
	aws.ProviderName:   aws.Provider{},
	azure.ProviderName: azure.Provider{},
	gcp.ProviderName:   gcp.Provider{},
}

// connect finds a cluster of a cloud and a token for it, as the service account
// of the address in k's namespace or, without one, as the controller.
func (r *Reconciler) connect(k *kustomizev1.Kustomization, at remote.Address) func(context.Context) (remote.Connection, error) {
	options := r.as(account{Namespace: k.Namespace, Name: at.Account})
	if at.Cluster != "" {
		options = append(options, auth.WithClusterResource(at.Cluster))
	}
	if at.Host != "" {
		options = append(options, auth.WithClusterAddress(at.Host))
	}
	if len(at.CA) > 0 {
		options = append(options, auth.WithCAData(string(at.CA)))
	}
	if len(at.Audiences) > 0 {
		options = append(options, auth.WithAudiences(at.Audiences...))
	}
	if r.Tokens != nil {
		options = append(options, auth.WithCache(*r.Tokens, involved(k, "fetch_kubeconfig")))
	}
	return func(ctx context.Context) (remote.Connection, error) {
		// The clouds' libraries take the default transport, which is closed to builds.
		found, err := auth.GetRESTConfig(build.Unconfined(ctx), clouds[at.Provider], options...)
		if err != nil {
			return remote.Connection{}, fmt.Errorf("provider %q: %w", at.Provider, err)
		}
		secrets.Register(found.BearerToken)
		return remote.Connection{Host: found.Host, CA: found.CAData,
			Token: remote.Token{Value: found.BearerToken, Expires: found.ExpiresAt}}, nil
	}
}
