package decryption

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/fluxcd/pkg/cache"
	"github.com/getsops/sops/v3/keyservice"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/internal/secrets"
)

// VaultInstance is a Vault or OpenBao that service accounts may log in to.
type VaultInstance struct {
	Address   string `json:"address"`   // https://host:port; also the audience of the tokens it is shown
	LoginPath string `json:"loginPath"` // of a method that takes JSON web tokens: auth/kubernetes/login
}

// VaultLogin is a log-in with a token of a service account.
type VaultLogin struct {
	Address, Path string
	Role          string
	// Token asks for the service account's token, for the audience Address.
	Token func(context.Context) (string, error)
}

// ParseVaultInstances reads the config.yaml of the ConfigMap that
// --sops-vault-configmap names.
func ParseVaultInstances(text string) ([]VaultInstance, error) {
	var config struct {
		Instances []VaultInstance `json:"instances"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
		return nil, fmt.Errorf("config.yaml must be a list \"instances\" of \"address\" and \"loginPath\": %w", err)
	}
	for i, v := range config.Instances {
		if _, err := vaultURL(v.Address); err != nil || strings.Trim(v.LoginPath, "/") == "" {
			return nil, fmt.Errorf("config.yaml: instances[%d] needs an address, an http or https URL, and a loginPath such as auth/kubernetes/login", i)
		}
	}
	return config.Instances, nil
}

// FindVault returns the instance with the address that a file names. Others are
// not logged in to: what a service account can do is not shown to strangers.
func FindVault(all []VaultInstance, address string) (VaultInstance, error) {
	for _, v := range all {
		if sameVault(v.Address, address) {
			return v, nil
		}
	}
	return VaultInstance{}, errors.New("its address is not among those of --sops-vault-configmap")
}

func sameVault(a, b string) bool {
	ua, errA := vaultURL(a)
	ub, errB := vaultURL(b)
	return errA == nil && errB == nil && ua.Scheme == ub.Scheme && strings.EqualFold(ua.Host, ub.Host) &&
		strings.Trim(ua.Path, "/") == strings.Trim(ub.Path, "/")
}

func vaultURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("its address is no http or https URL")
	}
	return u, nil
}

// token logs in. (Format: Vault's HTTP API, "JWT Login" and "Login" of the
// Kubernetes auth method, which agree.)
func (l VaultLogin) token(ctx context.Context) (cache.Token, error) {
	jwt, err := l.Token(ctx)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
			Lease int64  `json:"lease_duration"` // seconds
		} `json:"auth"`
	}
	if err := askVault(ctx, l.Address, l.Path, "", map[string]string{"role": l.Role, "jwt": jwt}, &answer); err != nil {
		return nil, fmt.Errorf("logging in with the role %q: %w", l.Role, err)
	}
	if answer.Auth.Token == "" {
		return nil, fmt.Errorf("logging in with the role %q brought no token", l.Role)
	}
	secrets.Register(answer.Auth.Token)
	return &vaultToken{answer.Auth.Token, time.Now().Add(time.Duration(max(answer.Auth.Lease, 0)) * time.Second)}, nil
}

// decryptVault asks the transit engine of a Vault. (Format: Vault's HTTP API,
// "Decrypt data".) Vault's own client would follow a redirect with the token and
// heed the environment.
func (r *ring) decryptVault(ctx context.Context, k *keyservice.VaultKey, ciphertext []byte) ([]byte, error) {
	if _, err := vaultURL(k.VaultAddress); err != nil {
		return nil, err
	}
	token := string(r.cloud[vaultTokenKey])
	if token == "" {
		var err error
		if token, err = r.identity.vault(ctx, k.VaultAddress); err != nil {
			return nil, err
		}
	}
	var answer struct{ Data struct{ Plaintext []byte } }
	err := askVault(ctx, k.VaultAddress, path.Join("/", k.EnginePath, "decrypt", k.KeyName), token, map[string]string{"ciphertext": string(ciphertext)}, &answer)
	return answer.Data.Plaintext, err
}

func askVault(ctx context.Context, address, at, token string, body map[string]string, into any) error {
	u, err := vaultURL(address)
	if err != nil {
		return err
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath("/v1", path.Join("/", at)).String(), bytes.NewReader(data))
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", strings.TrimSpace(token))
	}
	req.Header.Set("X-Vault-Request", "true")
	return exchange(req, into)
}
