package bucket

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/minio/minio-go/v7/pkg/credentials"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/secrets"
)

// amazon are the hosts that a workload identity is used with.
var amazon = regexp.MustCompile(`^([a-z0-9-]+\.)*(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|api\.aws|sc2s\.sgov\.gov|c2s\.ic\.gov)(:443)?$`)

// newAmazon speaks to Amazon S3: with keys or with a workload identity.
func newAmazon(a *access, logins *cloudlogin.Logins) (storage, error) {
	client, err := a.client()
	if err != nil {
		return nil, fmt.Errorf("spec.certSecretRef: %w", err)
	}
	if a.Secret != nil {
		creds, err := keys(a.Secret)
		if err != nil {
			return nil, err
		}
		return newS3(a, client, creds)
	}
	identity := a.Identity
	identity.Region = a.Region
	if a.STS != nil {
		if a.STS.Provider != sourcev1.STSProviderAmazon {
			return nil, fmt.Errorf("%w.provider: %q does not go with the provider \"aws\": use \"aws\"", errSTS, a.STS.Provider)
		}
		if err := aws.ValidateSTSEndpoint(a.STS.Endpoint); err != nil {
			return nil, fmt.Errorf("%w.endpoint: %w", errSTS, err)
		}
		identity.STSEndpoint = a.STS.Endpoint
	}
	if err := a.trusted(amazon); err != nil {
		return nil, err
	}
	options, err := logins.Options(identity)
	if err != nil {
		return nil, err
	}
	return newS3(a, client, credentials.New(&workload{options: options}))
}

// workload is a workload identity as minio-go wants credentials.
type workload struct {
	credentials.Expiry
	options []auth.Option
}

// RetrieveWithCredContext implements credentials.Provider.
func (w *workload) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	ctx := context.Background()
	if cc != nil && cc.Context != nil {
		ctx = cc.Context
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	token, err := auth.GetAccessToken(ctx, aws.Provider{}, w.options...)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("%w with the provider \"aws\": %w", errAuth, err)
	}
	c, ok := token.(*aws.Credentials)
	if !ok || c.AccessKeyId == nil || c.SecretAccessKey == nil {
		return credentials.Value{}, fmt.Errorf("%w: the provider \"aws\" gave something else", errAuth)
	}
	v := credentials.Value{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SignerType: credentials.SignatureV4}
	if c.SessionToken != nil {
		v.SessionToken = *c.SessionToken
	}
	if c.Expiration != nil {
		v.Expiration = *c.Expiration
		w.SetExpiration(*c.Expiration, credentials.DefaultExpiryWindow)
	}
	register(v)
	return v, nil
}

// Retrieve implements credentials.Provider.
func (w *workload) Retrieve() (credentials.Value, error) { return w.RetrieveWithCredContext(nil) }

func register(v credentials.Value) { secrets.Register(v.SecretAccessKey, v.SessionToken) }

var errUntrusted = errors.New("a cloud identity is used with hosts of its provider and TLS only")

// trusted tells whether the identity of this program or of a service account may
// be used with the endpoint.
func (a *access) trusted(hosts *regexp.Regexp) error {
	if a.Insecure {
		return fmt.Errorf("%w: spec.insecure cannot be set without spec.secretRef: %w", errSpec, errUntrusted)
	}
	if !hosts.MatchString(a.Endpoint) {
		return fmt.Errorf("%w: %q: %w: correct it or set spec.secretRef", errEndpoint, a.Endpoint, errUntrusted)
	}
	return nil
}
