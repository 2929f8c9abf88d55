package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/upstream"
)

// access is how to reach one bucket. Its fields are exported to be hashed as JSON.
type access struct {
	Provider, Endpoint, Region, Bucket string
	Insecure                           bool
	Secret                             map[string][]byte // nil: spec.secretRef is not set
	connection
	STS      *tokenService
	Identity cloudlogin.Identity // who asks when there is no Secret
}

// tokenService is where to take temporary credentials from.
type tokenService struct {
	Provider, Endpoint string
	Secret             map[string][]byte
	TLS                upstream.Material
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
	key, err := a.key()
	if err != nil {
		return nil, err
	}
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

// key tells accesses apart. The JSON of a URL lacks its user and password, so the
// proxy comes as text, too.
func (a *access) key() ([sha256.Size]byte, error) {
	proxy := ""
	if a.Proxy != nil {
		proxy = a.Proxy.String()
	}
	text, err := json.Marshal([]any{a, proxy})
	return sha256.Sum256(text), err
}

// access reads the Secrets that the spec names.
func (r *Reconciler) access(ctx context.Context, b *sourcev1.Bucket) (*access, error) {
	if err := contradiction(&b.Spec); err != nil {
		return nil, err
	}
	a := &access{
		Provider: b.Spec.Provider, Endpoint: b.Spec.Endpoint, Region: b.Spec.Region, Bucket: b.Spec.BucketName, Insecure: b.Spec.Insecure,
		connection: connection{patience: &r.patience},
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
	who, err := json.Marshal([]any{a.Provider, a.Secret, a.STS, a.Identity.Namespace, a.Identity.ServiceAccount})
	a.who = upstream.Identify(string(who))
	return a, err
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

// get returns the Secret that the field names, or nil if it names none.
func (s secretReader) get(field string, ref *meta.LocalObjectReference) (*corev1.Secret, error) {
	if ref == nil {
		return nil, nil
	}
	secret, err := secrets.Get(s.ctx, s.r.o.Client, s.namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", field, errAuth, err)
	}
	return secret, nil
}

func (s secretReader) read(field string, ref *meta.LocalObjectReference) (map[string][]byte, error) {
	secret, err := s.get(field, ref)
	if err != nil || secret == nil {
		return nil, err
	}
	if secret.Data == nil {
		return map[string][]byte{}, nil
	}
	return secret.Data, nil
}

func (s secretReader) material(field string, ref *meta.LocalObjectReference) (m upstream.Material, err error) {
	secret, err := s.get(field, ref)
	if err != nil || secret == nil {
		return m, err
	}
	if m, err = upstream.ReadMaterial(secret); err != nil {
		return m, fmt.Errorf("%s: %w: %w", field, errAuth, err)
	}
	return m, nil
}

func (s secretReader) proxy(ref *meta.LocalObjectReference) (*url.URL, error) {
	secret, err := s.get("spec.proxySecretRef", ref)
	if err != nil || secret == nil {
		return nil, err
	}
	proxy, err := upstream.ReadProxy(secret)
	if err != nil {
		return nil, fmt.Errorf("spec.proxySecretRef: %w: %w", errAuth, err)
	}
	return proxy, nil
}
