package decryption

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/kms"
)

// services answers for all hosts, in place of the network.
type services struct {
	http.Handler
	asked []string
}

func (s *services) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, r.URL.Host)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

func standIn(t *testing.T, h http.HandlerFunc) *services {
	t.Helper()
	s := &services{Handler: h}
	before := transport
	transport = func() http.RoundTripper { return s }
	t.Cleanup(func() { transport = before })
	return s
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// accountKey is the JSON key of a GCP service account.
func accountKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@example.com", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestKeyServices(t *testing.T) {
	encrypted := base64.StdEncoding.EncodeToString([]byte("ciphertext"))
	for name, tt := range map[string]struct {
		key    keys.MasterKey
		secret string
		value  []byte
		host   string
		serve  http.HandlerFunc
	}{
		"Vault": {
			&hcvault.MasterKey{VaultAddress: "https://vault.example.com:8200", EnginePath: "sops", KeyName: "first", EncryptedKey: "vault:v1:x", CreationDate: time.Now()},
			"sops.vault-token", []byte("s.token\n"), "vault.example.com:8200",
			func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Vault-Token") != "s.token" || r.URL.Path != "/v1/sops/decrypt/first" {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				answer(w, map[string]any{"data": map[string]string{"plaintext": base64.StdEncoding.EncodeToString(dataKey)}})
			},
		},
		"AWS": {
			&kms.MasterKey{Arn: "arn:aws:kms:eu-west-1:111122223333:key/abc", EncryptedKey: encrypted, CreationDate: time.Now(), AwsProfile: "evil"},
			"sops.aws-kms", []byte("aws_access_key_id: AKIDEXAMPLE\naws_secret_access_key: key\n"), "kms.eu-west-1.amazonaws.com",
			func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.Header.Get("Authorization"), "AKIDEXAMPLE") {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				answer(w, map[string]string{"Plaintext": base64.StdEncoding.EncodeToString(dataKey)})
			},
		},
		"GCP": {
			&gcpkms.MasterKey{ResourceID: "projects/p/locations/l/keyRings/r/cryptoKeys/k", EncryptedKey: encrypted, CreationDate: time.Now()},
			"sops.gcp-kms", accountKey(t), "cloudkms.googleapis.com",
			func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/token":
					answer(w, map[string]any{"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
				case r.Header.Get("Authorization") == "Bearer t":
					answer(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(dataKey)})
				default:
					http.Error(w, "no", http.StatusForbidden)
				}
			},
		},
		"Azure": {
			&azkv.MasterKey{VaultURL: "https://test.vault.azure.net", Name: "k", Version: "v1", EncryptedKey: base64.RawURLEncoding.EncodeToString([]byte("x")), CreationDate: time.Now()},
			"sops.azure-kv", []byte("tenantId: 00000000-0000-0000-0000-000000000001\nclientId: c\nclientSecret: s\n"), "test.vault.azure.net",
			serveAzure,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := standIn(t, tt.serve)
			sealed := seal(t, formatDotenv, "A="+planted+"\n", tt.key)
			if _, err := NewKeys().File(t.Context(), "a.env", sealed); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), tt.secret) {
				t.Errorf("without a credential the error is %v", err)
			}
			if len(s.asked) > 0 {
				t.Errorf("without a credential %v were asked", s.asked)
			}
			got, err := NewKeys(map[string][]byte{tt.secret: tt.value}).File(t.Context(), "a.env", sealed)
			if err != nil || string(got) != "A="+planted+"\n" {
				t.Errorf("decrypted %q, %v", got, err)
			}
			if len(s.asked) == 0 || s.asked[len(s.asked)-1] != tt.host {
				t.Errorf("asked %v, want %s at the end", s.asked, tt.host)
			}
		})
	}
}

func serveAzure(w http.ResponseWriter, r *http.Request) {
	const authority = "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000001"
	switch {
	case strings.Contains(r.URL.Path, "/discovery/instance"):
		answer(w, map[string]any{"tenant_discovery_endpoint": authority + "/v2.0/.well-known/openid-configuration", "metadata": []any{}})
	case strings.Contains(r.URL.Path, "openid-configuration"):
		answer(w, map[string]string{"token_endpoint": authority + "/oauth2/v2.0/token", "authorization_endpoint": authority + "/a", "issuer": authority + "/v2.0"})
	case strings.HasSuffix(r.URL.Path, "/token"):
		answer(w, map[string]any{"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
	case r.Header.Get("Authorization") != "Bearer t":
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer authorization=%q, resource=%q", authority, "https://vault.azure.net"))
		w.WriteHeader(http.StatusUnauthorized)
	default:
		answer(w, map[string]string{"value": base64.RawURLEncoding.EncodeToString(dataKey)})
	}
}

// Credentials that would make a library run a program, read a file or ask the
// node are refused before anything is dialled.
func TestCredentialsAreSelfContained(t *testing.T) {
	s := standIn(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	key := &gcpkms.MasterKey{ResourceID: "projects/p/locations/l/keyRings/r/cryptoKeys/k", EncryptedKey: "eA==", CreationDate: time.Now()}
	sealed := seal(t, formatDotenv, "A="+planted+"\n", key)
	for _, credential := range []string{
		`{"type":"external_account","credential_source":{"executable":{"command":"/bin/true"}}}`,
		`{"type":"external_account","credential_source":{"file":"/etc/passwd"}}`,
		`{"type":"authorized_user"}`, `not JSON`,
	} {
		_, err := NewKeys(map[string][]byte{"sops.gcp-kms": []byte(credential)}).File(t.Context(), "a.env", sealed)
		if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "service account") {
			t.Errorf("error is %v", err)
		}
	}
	if len(s.asked) > 0 {
		t.Errorf("asked %v", s.asked)
	}
}

func TestRedirectsAndLinkLocalAddressesAreRefused(t *testing.T) {
	var leaked bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	for address, says := range map[string]string{server.URL: "", "http://169.254.169.254": "not allowed"} {
		key := &hcvault.MasterKey{VaultAddress: address, EnginePath: "sops", KeyName: "first", EncryptedKey: "x", CreationDate: time.Now()}
		_, err := NewKeys(map[string][]byte{"sops.vault-token": []byte("token")}).File(t.Context(), "a.env", seal(t, formatDotenv, "A="+planted+"\n", key))
		if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error is %v, want one that says %q", address, err, says)
		}
	}
	if leaked {
		t.Error("a redirect was followed")
	}
}
