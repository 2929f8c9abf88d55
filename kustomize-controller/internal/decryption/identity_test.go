package decryption

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/cache"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/kms"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/build"
)

// tokenServer is the part of the API server that hands out tokens of service
// accounts; everything else of it is in the tests of the reconciler, with a real one.
type tokenServer struct {
	client.Client
	account *corev1.ServiceAccount
	asked   int
}

func (s *tokenServer) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	s.account.DeepCopyInto(obj.(*corev1.ServiceAccount))
	return nil
}

func (s *tokenServer) SubResource(string) client.SubResourceClient { return tokenRequests{s: s} }

type tokenRequests struct {
	client.SubResourceClient
	s *tokenServer
}

func (r tokenRequests) Create(_ context.Context, _ client.Object, sub client.Object, _ ...client.SubResourceCreateOption) error {
	r.s.asked++
	request := sub.(*authenticationv1.TokenRequest)
	request.Status.Token = "jwt-for-" + strings.Join(request.Spec.Audiences, ",")
	request.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Hour))
	return nil
}

func (s *tokenServer) Scheme() *runtime.Scheme { return nil }

// cloudInPlaceOfNetwork makes a server of this process answer for all hosts that
// the default transport reaches, which the libraries of the clouds use.
func cloudInPlaceOfNetwork(t *testing.T, h http.Handler) {
	t.Helper()
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	before := http.DefaultTransport
	http.DefaultTransport = &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
	t.Cleanup(func() { http.DefaultTransport = before })
}

// TestWorkloadIdentity decrypts with the identity of a service account, exchanged
// for credentials of each cloud by its own library.
func TestWorkloadIdentity(t *testing.T) {
	auth.EnableObjectLevelWorkloadIdentity()
	t.Cleanup(auth.DisableObjectLevelWorkloadIdentity)
	encrypted := base64.StdEncoding.EncodeToString([]byte("ciphertext"))
	for name, tt := range map[string]struct {
		key         keys.MasterKey
		annotations map[string]string
		exchange    http.HandlerFunc // where tokens are exchanged
		serve       http.HandlerFunc // the key service
	}{
		"aws": {
			&kms.MasterKey{Arn: "arn:aws:kms:eu-west-1:111122223333:key/abc", EncryptedKey: encrypted, CreationDate: time.Now()},
			map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/sops"},
			func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				if r.Form.Get("WebIdentityToken") != "jwt-for-sts.amazonaws.com" || r.Form.Get("RoleArn") != "arn:aws:iam::111122223333:role/sops" {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				w.Header().Set("Content-Type", "text/xml")
				fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>ASIAEXCHANGED</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			},
			func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.Header.Get("Authorization"), "ASIAEXCHANGED") {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				answer(w, map[string]string{"Plaintext": base64.StdEncoding.EncodeToString(dataKey)})
			},
		},
		"gcp": {
			&gcpkms.MasterKey{ResourceID: "projects/p/locations/l/keyRings/r/cryptoKeys/k", EncryptedKey: encrypted, CreationDate: time.Now()},
			map[string]string{"gcp.auth.fluxcd.io/workload-identity-provider": "projects/1/locations/global/workloadIdentityPools/pool/providers/weir"},
			func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				if r.Form.Get("subject_token") != "jwt-for-//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/weir" {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				answer(w, map[string]any{"access_token": "exchanged", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
			},
			func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer exchanged" {
					http.Error(w, "no", http.StatusForbidden)
					return
				}
				answer(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(dataKey)})
			},
		},
		"azure": {
			&azkv.MasterKey{VaultURL: "https://test.vault.azure.net", Name: "k", Version: "v1", EncryptedKey: base64.RawURLEncoding.EncodeToString([]byte("x")), CreationDate: time.Now()},
			map[string]string{"azure.workload.identity/tenant-id": "00000000-0000-0000-0000-000000000001", "azure.workload.identity/client-id": "c"},
			func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/token") {
					body, _ := io.ReadAll(r.Body)
					form, _ := url.ParseQuery(string(body))
					if form.Get("client_assertion") != "jwt-for-api://AzureADTokenExchange" {
						http.Error(w, "no", http.StatusForbidden)
						return
					}
				}
				serveAzure(w, r)
			},
			serveAzure,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloudInPlaceOfNetwork(t, tt.exchange)
			t.Cleanup(build.Confine()) // as in the controller
			standIn(t, tt.serve)
			tokens, err := cache.NewTokenCache(10)
			if err != nil {
				t.Fatal(err)
			}
			api := &tokenServer{account: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "sops", Annotations: tt.annotations}}}
			id := Identity{ID: "apps/sops", Tokens: tokens, Object: cache.InvolvedObject{Kind: "Kustomization", Namespace: "apps", Name: "app"},
				Options: []auth.Option{auth.WithClient(api), auth.WithServiceAccountName("sops"), auth.WithServiceAccountNamespace("apps")}}
			sealed := seal(t, formatDotenv, "A="+planted+"\n", tt.key)
			for range 2 {
				got, err := NewKeys().With(id).File(t.Context(), "a.env", sealed)
				if err != nil || string(got) != "A="+planted+"\n" {
					t.Fatalf("decrypted %q, %v", got, err)
				}
			}
			if api.asked != 1 {
				t.Errorf("the API server was asked for %d tokens, want 1 for two decryptions", api.asked)
			}
			// Without the account there is nothing to ask with, and the message says so.
			_, err = NewKeys().With(Identity{Absent: `there is no service account "sops"`}).File(t.Context(), "a.env", sealed)
			if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), `no service account "sops"`) {
				t.Errorf("without an identity the error is %v", err)
			}
		})
	}
}

// TestVaultLogin logs in to a stand-in of Vault's HTTP API with a token of a
// service account, once for two decryptions, and to no other Vault than those
// that the controller's ConfigMap names.
func TestVaultLogin(t *testing.T) {
	logins := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Role, JWT, Ciphertext string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		switch {
		case r.URL.Path == "/v1/ns1/auth/kubernetes/login" && body.Role == "apps_sops" && body.JWT == "jwt":
			logins++
			answer(w, map[string]any{"auth": map[string]any{"client_token": "hvs.short-lived", "lease_duration": 1200}})
		case r.URL.Path == "/v1/transit/decrypt/sops" && r.Header.Get("X-Vault-Token") == "hvs.short-lived" && body.Ciphertext == "vault:v1:x":
			answer(w, map[string]any{"data": map[string]string{"plaintext": base64.StdEncoding.EncodeToString(dataKey)}})
		default:
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		}
	}))
	defer server.Close()
	instances, err := ParseVaultInstances(fmt.Sprintf("instances:\n- address: %s/\n  loginPath: ns1/auth/kubernetes/login\n", server.URL))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := cache.NewTokenCache(10)
	if err != nil {
		t.Fatal(err)
	}
	role := "apps_sops"
	id := Identity{ID: "apps/sops", Tokens: tokens, Vault: func(_ context.Context, address string) (VaultLogin, error) {
		at, err := FindVault(instances, address)
		return VaultLogin{Address: at.Address, Path: at.LoginPath, Role: role,
			Token: func(context.Context) (string, error) { return "jwt", nil }}, err
	}}
	sealed := func(address string) []byte {
		return seal(t, formatDotenv, "A="+planted+"\n",
			&hcvault.MasterKey{VaultAddress: address, EnginePath: "transit", KeyName: "sops", EncryptedKey: "vault:v1:x", CreationDate: time.Now()})
	}
	for range 2 {
		if got, err := NewKeys().With(id).File(t.Context(), "a.env", sealed(server.URL)); err != nil || string(got) != "A="+planted+"\n" {
			t.Fatalf("decrypted %q, %v", got, err)
		}
	}
	if logins != 1 {
		t.Errorf("%d log-ins, want 1", logins)
	}
	for name, tt := range map[string]struct {
		address, role, says string
		id                  Identity
	}{
		"another Vault":  {"http://127.0.0.1:1", "apps_sops", "not among those of --sops-vault-configmap", id},
		"another role":   {server.URL, "apps_other", `role "apps_other"`, id},
		"no ConfigMap":   {server.URL, "", "no --sops-vault-configmap", Identity{ID: "apps/sops"}},
		"no identity":    {server.URL, "", "no workload identity", Identity{}},
		"not an address": {"ftp://x", "", "no http or https URL", id},
	} {
		t.Run(name, func(t *testing.T) {
			role = tt.role
			_, err := NewKeys().With(tt.id).File(t.Context(), "a.env", sealed(tt.address))
			if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), "hvs.") {
				t.Errorf("the error shows a token: %v", err)
			}
		})
	}
	for name, text := range map[string]string{
		"no login path": "instances: [{address: 'https://v'}]", "no URL": "instances: [{address: v, loginPath: auth/x/login}]",
		"unknown field": "instances: [{address: 'https://v', loginPath: x, token: y}]", "no YAML": "{",
	} {
		if _, err := ParseVaultInstances(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
