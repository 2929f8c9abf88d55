package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
)

// access is how to reach one bucket. Its fields are exported to be hashed as JSON.
type access struct {
	Provider, Endpoint, Region, Bucket string
	Insecure                           bool
	Secret                             map[string][]byte // nil: spec.secretRef is not set
	TLS                                material
	Proxy                              *url.URL // nil: as the environment says
	STS                                *tokenService
	Identity                           cloudlogin.Identity // who asks when there is no Secret
}

// tokenService is where to take temporary credentials from.
type tokenService struct {
	Provider, Endpoint string
	Secret             map[string][]byte
	TLS                material
}

// maxStorages bounds the clients that are kept, and their idle connections.
const maxStorages = 512

// storage returns the bucket that the spec leads to. While what the spec and its
// Secrets say stays the same, so does the client, with its warm connections.
func (r *Reconciler) storage(ctx context.Context, b *sourcev1.Bucket) (storage, error) {
	a, err := r.access(ctx, b)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.storages[key]; ok {
		return s, nil
	}
	create, known := providers[a.Provider]
	if !known {
		return nil, fmt.Errorf("%w: spec.provider %q is not known", errSpec, a.Provider)
	}
	s, err := create(a, r.o.Logins)
	if errors.Is(err, cloudlogin.ErrGate) {
		return nil, loop.Stall(meta.FeatureGateDisabledReason, fmt.Errorf("spec.serviceAccountName: %w: remove the field to use the identity of the controller", err))
	}
	if err != nil {
		return nil, err
	}
	if len(r.storages) >= maxStorages {
		clear(r.storages) // idle connections end by themselves
	}
	r.storages[key] = s
	return s, nil
}

// access reads the Secrets that the spec names.
func (r *Reconciler) access(ctx context.Context, b *sourcev1.Bucket) (*access, error) {
	if err := contradiction(&b.Spec); err != nil {
		return nil, err
	}
	a := &access{
		Provider: b.Spec.Provider, Endpoint: b.Spec.Endpoint, Region: b.Spec.Region, Bucket: b.Spec.BucketName, Insecure: b.Spec.Insecure,
	}
	s := secretReader{r, ctx, b.Namespace}
	var err error
	if a.Secret, err = s.read("spec.secretRef", b.Spec.SecretRef); err != nil {
		return nil, err
	}
	if a.TLS, err = s.material("spec.certSecretRef", b.Spec.CertSecretRef); err != nil {
		return nil, err
	}
	if a.Proxy, err = s.proxy(b.Spec.ProxySecretRef); err != nil {
		return nil, err
	}
	if sts := b.Spec.STS; sts != nil {
		a.STS = &tokenService{Provider: sts.Provider, Endpoint: sts.Endpoint}
		if a.STS.Secret, err = s.read("spec.sts.secretRef", sts.SecretRef); err != nil {
			return nil, err
		}
		if a.STS.TLS, err = s.material("spec.sts.certSecretRef", sts.CertSecretRef); err != nil {
			return nil, err
		}
	}
	if a.Secret == nil && a.Provider != "" && a.Provider != sourcev1.BucketProviderGeneric {
		a.Identity = cloudlogin.Identity{
			Kind: sourcev1.BucketKind, Namespace: b.Namespace, Name: b.Name, ServiceAccount: b.Spec.ServiceAccountName, Proxy: a.Proxy,
		}
	}
	return a, nil
}

// contradiction names fields that do not go together. The API server refuses most
// of them; objects from before its rules may still have them.
func contradiction(s *sourcev1.BucketSpec) error {
	generic := s.Provider == "" || s.Provider == sourcev1.BucketProviderGeneric
	switch {
	case s.STS != nil && !generic && s.Provider != sourcev1.BucketProviderAmazon:
		return fmt.Errorf("%w: it goes with the providers \"aws\" and \"generic\" only", errSTS)
	case s.STS != nil && s.SecretRef != nil:
		return fmt.Errorf("%w: it cannot be set with spec.secretRef: both say which credentials to use", errSTS)
	case s.STS != nil && s.STS.Provider == sourcev1.STSProviderAmazon && (s.STS.SecretRef != nil || s.STS.CertSecretRef != nil):
		return fmt.Errorf("%w: spec.sts.secretRef and spec.sts.certSecretRef do not go with the provider \"aws\"", errSTS)
	case s.ServiceAccountName != "" && generic:
		return fmt.Errorf("%w: spec.serviceAccountName does not go with the provider \"generic\"", errSpec)
	case s.ServiceAccountName != "" && s.SecretRef != nil:
		return fmt.Errorf("%w: spec.serviceAccountName cannot be set with spec.secretRef", errSpec)
	case s.Region != "" && (s.Provider == sourcev1.BucketProviderGoogle || s.Provider == sourcev1.BucketProviderAzure):
		return fmt.Errorf("%w: spec.region has no meaning for the provider %q: remove it", errSpec, s.Provider)
	}
	return nil
}

// secretReader reads the Secrets of one namespace.
type secretReader struct {
	r         *Reconciler
	ctx       context.Context
	namespace string
}

func (s secretReader) read(field string, ref *meta.LocalObjectReference) (map[string][]byte, error) {
	if ref == nil {
		return nil, nil
	}
	secret, err := secrets.Get(s.ctx, s.r.o.Client, s.namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", field, errAuth, err)
	}
	if secret.Data == nil {
		return map[string][]byte{}, nil
	}
	return secret.Data, nil
}

func (s secretReader) material(field string, ref *meta.LocalObjectReference) (m material, err error) {
	data, err := s.read(field, ref)
	if err != nil || data == nil {
		return m, err
	}
	first := func(keys ...string) []byte {
		for _, key := range keys {
			if len(data[key]) > 0 {
				return data[key]
			}
		}
		return nil
	}
	m = material{CA: first("ca.crt", "caFile"), Cert: first("tls.crt", "certFile"), Key: first("tls.key", "keyFile")}
	switch {
	case m.CA == nil && m.Cert == nil:
		return m, fmt.Errorf("%s: %w: the secret has neither \"ca.crt\" nor \"tls.crt\"", field, errAuth)
	case (m.Cert == nil) != (m.Key == nil):
		return m, fmt.Errorf("%s: %w: the secret has only one of \"tls.crt\" and \"tls.key\"", field, errAuth)
	}
	return m, nil
}

func (s secretReader) proxy(ref *meta.LocalObjectReference) (*url.URL, error) {
	data, err := s.read("spec.proxySecretRef", ref)
	if err != nil || data == nil {
		return nil, err
	}
	proxy, err := url.Parse(strings.TrimSpace(string(data["address"])))
	if err != nil || proxy.Host == "" {
		return nil, fmt.Errorf("spec.proxySecretRef: %w: the key \"address\" of the secret is no URL", errAuth)
	}
	if user := string(data["username"]); user != "" {
		proxy.User = url.UserPassword(user, string(data["password"]))
	}
	return proxy, nil
}
