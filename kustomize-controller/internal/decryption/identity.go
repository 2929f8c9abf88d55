package decryption

import (
	"context"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/fluxcd/pkg/auth"
	authaws "github.com/fluxcd/pkg/auth/aws"
	authazure "github.com/fluxcd/pkg/auth/azure"
	authgcp "github.com/fluxcd/pkg/auth/gcp"
	"github.com/fluxcd/pkg/cache"
	"golang.org/x/oauth2"

	"github.com/weirhq/weir/internal/build"
)

// Identity is a workload identity that key services are asked with when the
// Secret has no credential for them: that of a service account, or the
// controller's own.
type Identity struct {
	// ID names the identity; what was decrypted with one is not given to another.
	ID string
	// Absent says why there is none.
	Absent string
	// Options name the service account to the clouds; without one it is the
	// controller's own identity.
	Options []auth.Option
	// Tokens keeps tokens; nil keeps none.
	Tokens *cache.TokenCache
	// Object is what the tokens are for, as metrics have it.
	Object cache.InvolvedObject
	// Vault says where to log in to a Vault and as whom. Nil: nowhere.
	Vault func(ctx context.Context, address string) (VaultLogin, error)
}

// With returns the same keys with an identity for what they lack.
func (k *Keys) With(id Identity) *Keys {
	out := NewKeys(k.data...)
	out.identity = id
	out.id += " " + id.ID
	return out
}

// missing says that there is no identity to take the place of what the Secret
// lacks; nil when there is.
func (i *Identity) missing(key string) error {
	switch {
	case i.ID != "":
		return nil
	case i.Absent != "":
		return fmt.Errorf("the Secret has no %q, and %s", key, i.Absent)
	}
	return fmt.Errorf("the Secret has no %q, and there is no workload identity", key)
}

// options are those of an access to one kind of service, for which the Secret
// has no key.
func (i *Identity) options(key, service string, more ...auth.Option) ([]auth.Option, error) {
	if err := i.missing(key); err != nil {
		return nil, err
	}
	options := append(append([]auth.Option{}, i.Options...), more...)
	if i.Tokens != nil {
		object := i.Object
		object.Operation = "decrypt_with_" + service
		options = append(options, auth.WithCache(*i.Tokens, object))
	}
	return options, nil
}

// The clouds' libraries take the default transport of the process, which is
// closed to builds and opened for them here. They reach the endpoints of their
// cloud and, for the controller's own identity, the node's.

func (i *Identity) aws(ctx context.Context, region string) (aws.CredentialsProvider, error) {
	options, err := i.options(awsKey, "aws", auth.WithSTSRegion(region))
	if err != nil {
		return nil, err
	}
	return authaws.NewCredentialsProvider(build.Unconfined(ctx), options...), nil
}

func (i *Identity) azure(ctx context.Context) (azcore.TokenCredential, error) {
	options, err := i.options(azureKey, "azure")
	if err != nil {
		return nil, err
	}
	return authazure.NewTokenCredential(build.Unconfined(ctx), options...), nil
}

func (i *Identity) gcp(ctx context.Context) (oauth2.TokenSource, error) {
	options, err := i.options(gcpKey, "gcp")
	if err != nil {
		return nil, err
	}
	return authgcp.NewTokenSource(build.Unconfined(ctx), options...), nil
}

// vaultToken is a token of a Vault and when it ends.
type vaultToken struct {
	value string
	ends  time.Time
}

// GetDuration implements cache.Token.
func (t *vaultToken) GetDuration() time.Duration { return time.Until(t.ends) }

// vault logs in to a Vault with the identity's service account.
func (i *Identity) vault(ctx context.Context, address string) (string, error) {
	if err := i.missing(vaultTokenKey); err != nil {
		return "", err
	}
	if i.Vault == nil {
		return "", fmt.Errorf("the Secret has no %q, and the controller has no --sops-vault-configmap", vaultTokenKey)
	}
	login, err := i.Vault(ctx, address)
	if err != nil {
		return "", err
	}
	var t cache.Token
	if i.Tokens == nil {
		t, err = login.token(ctx)
	} else {
		t, _, err = i.Tokens.GetOrSet(ctx, fmt.Sprintf("vault %q", []string{login.Address, login.Path, login.Role, i.ID}), login.token,
			cache.WithInvolvedObject(i.Object.Kind, i.Object.Name, i.Object.Namespace, "decrypt_with_vault"))
	}
	if err != nil {
		return "", err
	}
	return t.(*vaultToken).value, nil
}
