package bucket

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/fluxcd/pkg/auth"
	authazure "github.com/fluxcd/pkg/auth/azure"

	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/secrets"
)

// azureCredential makes what gives tokens: a service principal with a secret or a
// certificate, a managed identity by its client, or a workload identity.
func azureCredential(a *access, logins *cloudlogin.Logins, client *http.Client) (azcore.TokenCredential, error) {
	s := a.Secret
	if s == nil {
		if err := a.trusted(azureHosts); err != nil {
			return nil, err
		}
		options, err := logins.Options(a.Identity)
		return &named{azureWorkload(options)}, err
	}
	o := azcore.ClientOptions{Transport: client, Retry: policy.RetryOptions{MaxRetries: -1}}
	if host := string(s["authorityHost"]); host != "" {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: host}
	}
	tenant, id := string(s["tenantId"]), string(s["clientId"])
	var credential azcore.TokenCredential
	var err error
	switch {
	case tenant != "" && id != "" && len(s["clientSecret"]) > 0:
		credential, err = azidentity.NewClientSecretCredential(tenant, id, string(s["clientSecret"]), &azidentity.ClientSecretCredentialOptions{ClientOptions: o})
	case tenant != "" && id != "" && len(s["clientCertificate"]) > 0:
		certificates, key, bad := azidentity.ParseCertificates(s["clientCertificate"], s["clientCertificatePassword"])
		if bad != nil {
			return nil, fmt.Errorf("spec.secretRef: %w: the key \"clientCertificate\" cannot be read: %w", errAuth, bad)
		}
		send := strings.ToLower(string(s["clientCertificateSendChain"]))
		credential, err = azidentity.NewClientCertificateCredential(tenant, id, certificates, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: o, SendCertificateChain: send == "1" || send == "true"})
	case tenant == "" && id != "":
		if err := a.trusted(azureHosts); err != nil { // it is the node's
			return nil, err
		}
		credential, err = azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(id)})
	default:
		return nil, fmt.Errorf("spec.secretRef: %w: \"tenantId\" and \"clientId\" need \"clientSecret\" or \"clientCertificate\"", errAuth)
	}
	if err != nil {
		return nil, fmt.Errorf("spec.secretRef: %w: %w", errAuth, err)
	}
	return &named{credential}, nil
}

// azureWorkload is a workload identity.
type azureWorkload []auth.Option

// GetToken implements azcore.TokenCredential.
func (w azureWorkload) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	options := append([]auth.Option{auth.WithScopes(o.Scopes...)}, w...)
	token, err := auth.GetAccessToken(ctx, authazure.Provider{}, options...)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	if t, ok := token.(*authazure.Token); ok {
		return t.AccessToken, nil
	}
	return azcore.AccessToken{}, fmt.Errorf("the provider \"azure\" gave something else")
}

// named says of an error that it is about credentials, and registers tokens.
type named struct{ azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (n *named) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := n.TokenCredential.GetToken(ctx, o)
	if err != nil {
		return token, fmt.Errorf("%w: no token: %w", errAuth, err)
	}
	secrets.Register(token.Token)
	return token, nil
}
