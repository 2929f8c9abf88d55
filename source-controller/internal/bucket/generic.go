package bucket

import (
	"fmt"

	"github.com/minio/minio-go/v7/pkg/credentials"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
)

// newGeneric speaks to any S3 server: with keys, with credentials for which an
// LDAP login was exchanged, or anonymously.
func newGeneric(a *access, _ *cloudlogin.Logins) (storage, error) {
	client, err := a.client()
	if err != nil {
		return nil, fmt.Errorf("spec.certSecretRef: %w", err)
	}
	switch {
	case a.STS != nil:
		creds, err := ldap(a)
		if err != nil {
			return nil, err
		}
		return newS3(a, client, creds)
	case a.Secret != nil:
		creds, err := keys(a.Secret)
		if err != nil {
			return nil, err
		}
		return newS3(a, client, creds)
	}
	return newS3(a, client, credentials.NewStatic("", "", "", credentials.SignatureAnonymous))
}

// keys reads the Secret of the S3 providers.
func keys(secret map[string][]byte) (*credentials.Credentials, error) {
	for _, key := range []string{"accesskey", "secretkey"} {
		if len(secret[key]) == 0 {
			return nil, fmt.Errorf("spec.secretRef: %w: the secret has no key %q", errAuth, key)
		}
	}
	return credentials.NewStaticV4(string(secret["accesskey"]), string(secret["secretkey"]), ""), nil
}

// ldap exchanges a user and a password for temporary keys, as MinIO's
// AssumeRoleWithLDAPIdentity has it.
func ldap(a *access) (*credentials.Credentials, error) {
	if a.STS.Provider != sourcev1.STSProviderLDAP {
		return nil, fmt.Errorf("%w.provider: %q does not go with the provider \"generic\": use \"ldap\"", errSTS, a.STS.Provider)
	}
	for _, key := range []string{"username", "password"} {
		if len(a.STS.Secret[key]) == 0 {
			return nil, fmt.Errorf("%w.secretRef: a secret with the key %q is needed", errSTS, key)
		}
	}
	client, err := connection{TLS: a.STS.TLS, Proxy: a.Proxy, who: a.who, patience: a.patience}.client()
	if err != nil {
		return nil, fmt.Errorf("spec.sts.certSecretRef: %w", err)
	}
	return credentials.New(&refusable{&credentials.LDAPIdentity{
		Client: client, STSEndpoint: a.STS.Endpoint,
		LDAPUsername: string(a.STS.Secret["username"]), LDAPPassword: string(a.STS.Secret["password"]),
	}}), nil
}

// refusable says of an error that it is about credentials.
type refusable struct{ *credentials.LDAPIdentity }

// RetrieveWithCredContext implements credentials.Provider.
func (r *refusable) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	v, err := r.LDAPIdentity.RetrieveWithCredContext(cc)
	if err != nil {
		return v, fmt.Errorf("spec.sts: %w: %w", errAuth, err)
	}
	register(v)
	return v, nil
}
