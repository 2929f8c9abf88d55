package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/upstream"
)

var (
	// ErrName is wrapped when the name of a repository cannot be used.
	ErrName = errors.New("repository name")
	// ErrCredentials is wrapped when credentials are missing, malformed or refused.
	ErrCredentials = errors.New("registry credentials")
)

// Access is how to reach one repository.
type Access struct {
	Repository name.Repository
	Insecure   bool             // plain HTTP is allowed; it always is to this machine
	Auth       authn.AuthConfig // zero for anonymous
	TokenHosts []string         // host[:port] of token services that get Auth, besides those of the registry's own site
	TLS        upstream.Material
	Proxy      *url.URL // nil: as the environment says
}

// References are the fields of an object's spec that say how to reach a registry.
type References struct {
	Namespace          string
	SecretRef          *meta.LocalObjectReference // a dockerconfigjson; it must have an entry for the registry
	ServiceAccountName string                     // its pull secrets are looked through when there is no SecretRef
	CertSecretRef      *meta.LocalObjectReference // "ca.crt", "tls.crt", "tls.key"
	ProxySecretRef     *meta.LocalObjectReference // "address", "username", "password"
}

// Resolve adds to a, of which Repository and Insecure are set, what the Secrets and
// the service account of refs say. Errors name the field; they wrap
// ErrCredentials or are those of the API server.
func Resolve(ctx context.Context, c client.Reader, a Access, refs References) (_ Access, err error) {
	if a.Auth, a.TokenHosts, err = credentials(ctx, c, refs, a.Repository); err != nil {
		return Access{}, err
	}
	if ref := refs.CertSecretRef; ref != nil {
		if a.TLS, err = readMaterial(ctx, c, refs.Namespace, ref.Name); err != nil {
			return Access{}, fmt.Errorf("spec.certSecretRef: %w", err)
		}
	}
	if ref := refs.ProxySecretRef; ref != nil {
		if a.Proxy, err = readProxy(ctx, c, refs.Namespace, ref.Name); err != nil {
			return Access{}, fmt.Errorf("spec.proxySecretRef: %w", err)
		}
	}
	return a, nil
}

// ParseRepository reads the name of a repository, such as "alpine" or
// "ghcr.io/org/app". Tags, digests and URLs are refused with ErrName.
func ParseRepository(text string, insecure bool) (name.Repository, error) {
	if scheme, _, found := strings.Cut(text, "://"); found {
		return name.Repository{}, fmt.Errorf("%w %q: remove %q, it has no URL scheme", ErrName, text, scheme+"://")
	}
	if _, digest, found := strings.Cut(text, "@"); found {
		return name.Repository{}, fmt.Errorf("%w %q: remove %q, it has no digest", ErrName, text, "@"+digest)
	}
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, '/') {
		return name.Repository{}, fmt.Errorf("%w %q: remove %q, it has no tag", ErrName, text, text[i:])
	}
	options := []name.Option{}
	if insecure {
		options = append(options, name.Insecure)
	}
	repository, err := name.NewRepository(text, options...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("%w %q: %w", ErrName, text, err)
	}
	if "/"+repository.RepositoryStr() != path.Clean("/"+repository.RepositoryStr()) {
		return name.Repository{}, fmt.Errorf("%w %q: its path has empty parts or dots", ErrName, text)
	}
	return repository, nil
}

// credentials looks in the Secret, or else in the pull secrets of the service
// account, for what belongs to the repository, and for which other hosts they name.
func credentials(ctx context.Context, c client.Reader, refs References, repository name.Repository) (authn.AuthConfig, []string, error) {
	if ref := refs.SecretRef; ref != nil {
		auth, hosts, err := readDockerConfig(ctx, c, refs.Namespace, ref.Name, repository)
		if errors.Is(err, errNoEntry) {
			err = fmt.Errorf("%w: the secret %q has none for %q", ErrCredentials, ref.Name, repository.RegistryStr())
		}
		if err != nil {
			return authn.AuthConfig{}, nil, fmt.Errorf("spec.secretRef: %w", err)
		}
		return auth, hosts, nil
	}
	if refs.ServiceAccountName == "" {
		return authn.AuthConfig{}, nil, nil
	}
	account := &corev1.ServiceAccount{}
	key := client.ObjectKey{Namespace: refs.Namespace, Name: refs.ServiceAccountName}
	if err := c.Get(ctx, key, account); err != nil {
		return authn.AuthConfig{}, nil, fmt.Errorf("%w: spec.serviceAccountName: %w", ErrCredentials, err)
	}
	for _, ref := range account.ImagePullSecrets {
		auth, hosts, err := readDockerConfig(ctx, c, refs.Namespace, ref.Name, repository)
		if errors.Is(err, errNoEntry) {
			continue
		}
		if err != nil {
			return authn.AuthConfig{}, nil, fmt.Errorf("spec.serviceAccountName: the service account %q: %w", key.Name, err)
		}
		return auth, hosts, nil
	}
	return authn.AuthConfig{}, nil, nil
}

// errNoEntry says that a Docker configuration is about other registries.
var errNoEntry = errors.New("no entry for the registry")

func readDockerConfig(ctx context.Context, c client.Reader, namespace, secret string, repository name.Repository) (authn.AuthConfig, []string, error) {
	s, err := secrets.Get(ctx, c, namespace, secret)
	if err != nil {
		return authn.AuthConfig{}, nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	config, present := s.Data[corev1.DockerConfigJsonKey]
	if !present {
		return authn.AuthConfig{}, nil, fmt.Errorf("%w: the secret %q has no key %q; create it with `kubectl create secret docker-registry`", ErrCredentials, secret, corev1.DockerConfigJsonKey)
	}
	auth, hosts, err := find(config, repository)
	if err != nil && !errors.Is(err, errNoEntry) {
		return authn.AuthConfig{}, nil, fmt.Errorf("%w: the key %q of the secret %q: %w", ErrCredentials, corev1.DockerConfigJsonKey, secret, err)
	}
	secrets.Register(auth.Password, auth.IdentityToken, auth.RegistryToken)
	return auth, hosts, err
}

// find returns the entry of a Docker configuration that matches the repository: the
// one with the longest path, as the kubelet does it. The format is that of
// ~/.docker/config.json. The other hosts that it names are returned as well, sorted.
func find(config []byte, repository name.Repository) (auth authn.AuthConfig, others []string, err error) {
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(config, &file); err != nil {
		return auth, nil, errors.New("it is no Docker configuration in JSON") // the cause could quote a password
	}
	longest := -1
	for key, entry := range file.Auths {
		host, prefix := splitKey(key)
		if host != repository.RegistryStr() {
			others = append(others, host)
			continue
		}
		if len(prefix) <= longest {
			continue
		}
		if prefix == "" || repository.RepositoryStr() == prefix || strings.HasPrefix(repository.RepositoryStr(), prefix+"/") {
			auth, longest = entry, len(prefix)
		}
	}
	if longest < 0 {
		return auth, nil, errNoEntry
	}
	slices.Sort(others)
	return auth, slices.Compact(others), nil
}

// splitKey takes a key of "auths" apart: a host or URL with an optional path.
// The paths /v1 and /v2 are those of the registry's own API.
func splitKey(key string) (host, prefix string) {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, prefix, _ = strings.Cut(strings.TrimSuffix(key, "/"), "/")
	if prefix == "v1" || prefix == "v2" {
		prefix = ""
	}
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = name.DefaultRegistry
	}
	return host, prefix
}

func readMaterial(ctx context.Context, c client.Reader, namespace, secret string) (upstream.Material, error) {
	s, err := secrets.Get(ctx, c, namespace, secret)
	if err != nil {
		return upstream.Material{}, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	m, err := upstream.ReadMaterial(s)
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return m, nil
}

func readProxy(ctx context.Context, c client.Reader, namespace, secret string) (*url.URL, error) {
	s, err := secrets.Get(ctx, c, namespace, secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	proxy, err := upstream.ReadProxy(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return proxy, nil
}
