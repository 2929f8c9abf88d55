package provider

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/cache"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/internal/testenv"
)

const (
	tenant     = "11111111-2222-3333-4444-555555555555"
	clientID   = "66666666-7777-8888-9999-000000000000"
	cloudToken = "token-of-the-cloud"
)

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// clouds are stand-ins for the hosts of Azure and Google Cloud that give
// tokens and take events.
type clouds struct {
	mu         sync.Mutex
	assertions []string // of Azure: the tokens of Kubernetes it was shown
	subjects   []string // of Google
	scopes     []string
	bearers    []string // what services were called with
	hub        hub
}

func (c *clouds) internet(t *testing.T) *cloudtest.Internet {
	note := func(list *[]string, text string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		*list = append(*list, text)
	}
	c.hub.accept = true
	return &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{
		cloudtest.EntraHost: cloudtest.Entra(tenant, func(w http.ResponseWriter, r *http.Request) {
			note(&c.assertions, r.PostFormValue("client_assertion"))
			note(&c.scopes, r.PostFormValue("scope"))
			answerJSON(w, map[string]any{"access_token": cloudToken, "expires_in": 3600, "token_type": "Bearer"})
		}),
		"sts.googleapis.com": func(w http.ResponseWriter, r *http.Request) {
			note(&c.subjects, r.PostFormValue("subject_token"))
			answerJSON(w, map[string]any{"access_token": cloudToken, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "expires_in": 3600, "token_type": "Bearer"})
		},
		"pubsub.googleapis.com": func(w http.ResponseWriter, r *http.Request) {
			note(&c.bearers, r.Header.Get("Authorization"))
			answerJSON(w, map[string]any{"messageIds": []string{"1"}})
		},
		"dev.azure.com": func(w http.ResponseWriter, r *http.Request) {
			note(&c.bearers, r.Header.Get("Authorization"))
			answerJSON(w, map[string]any{"value": []any{}})
		},
	}, Conns: map[string]func(net.Conn){hubHost: func(conn net.Conn) { c.hub.serve(t, conn) }}}
}

// accountIn makes a service account that both clouds know.
func accountIn(t *testing.T, c client.Client) *corev1.ServiceAccount {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace(t), Name: "robot", Annotations: map[string]string{
		"azure.workload.identity/tenant-id": tenant, "azure.workload.identity/client-id": clientID,
		"gcp.auth.fluxcd.io/workload-identity-provider": "projects/1234567890/locations/global/workloadIdentityPools/pool/providers/cluster",
	}}}
	if err := c.Create(t.Context(), sa); err != nil {
		t.Fatal(err)
	}
	return sa
}

// subjectOf is whom a token of Kubernetes is for.
func subjectOf(t *testing.T, token string) (subject string, audience []string) {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	return claims.Subject, claims.Audience
}

// TestIdentityOfServiceAccount sends with tokens that were given for a service
// account of a real API server; the clouds are stand-ins.
func TestIdentityOfServiceAccount(t *testing.T) {
	auth.EnableObjectLevelWorkloadIdentity()
	t.Cleanup(auth.DisableObjectLevelWorkloadIdentity)
	c := testenv.Client(t)
	sa := accountIn(t, c)
	for name, tt := range map[string]struct {
		spec     notificationv1beta3.ProviderSpec
		shown    func(*clouds) []string
		audience string
		scope    string
		got      func(*clouds) []string
		want     string
	}{
		"azuredevops": {
			notificationv1beta3.ProviderSpec{Address: "https://dev.azure.com/org/project/_git/repo"},
			func(c *clouds) []string { return c.assertions }, "api://AzureADTokenExchange", "499b84ac-1321-427f-aa17-267ca6975798/.default",
			func(c *clouds) []string { return c.bearers }, "Bearer " + cloudToken,
		},
		"azureeventhub": {
			notificationv1beta3.ProviderSpec{Address: "events", Channel: "weir"},
			func(c *clouds) []string { return c.assertions }, "api://AzureADTokenExchange", "https://eventhubs.azure.net//.default",
			func(c *clouds) []string {
				var tokens []string
				for _, token := range c.hub.tokens {
					tokens = append(tokens, token["token"].(string))
				}
				return tokens
			}, cloudToken,
		},
		"googlepubsub": {
			notificationv1beta3.ProviderSpec{Address: "my-project", Channel: "events"},
			func(c *clouds) []string { return c.subjects }, "//iam.googleapis.com/projects/1234567890/locations/global/workloadIdentityPools/pool/providers/cluster", "",
			func(c *clouds) []string { return c.bearers }, "Bearer " + cloudToken,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stand := &clouds{}
			proxy := stand.internet(t).Start(t)
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: sa.Namespace, Name: "proxy-" + name}, StringData: map[string]string{"address": proxy.String()}}
			if err := c.Create(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			tokens, err := cache.NewTokenCache(10)
			if err != nil {
				t.Fatal(err)
			}
			p := &notificationv1beta3.Provider{ObjectMeta: metav1.ObjectMeta{Namespace: sa.Namespace, Name: name, UID: "uid"}, Spec: tt.spec}
			p.Spec.Type, p.Spec.ServiceAccountName = name, sa.Name
			p.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: secret.Name}
			loader := &Loader{Secrets: c, Accounts: c, Tokens: tokens}
			for range 2 { // the second loading takes the token that is kept
				l, err := loader.Load(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				l.Timeout = time.Minute
				if err := l.Send(t.Context(), anAlert(), sample()); err != nil {
					t.Fatal(err)
				}
				l.Close()
			}
			shown := tt.shown(stand)
			if len(shown) != 1 {
				t.Fatalf("%d exchanges of tokens, want 1", len(shown))
			}
			subject, audience := subjectOf(t, shown[0])
			if subject != "system:serviceaccount:"+sa.Namespace+":robot" || len(audience) != 1 || audience[0] != tt.audience {
				t.Errorf("the cloud was shown a token of %s for %q", subject, audience)
			}
			if tt.scope != "" && !strings.Contains(stand.scopes[0], tt.scope) {
				t.Errorf("scope %q", stand.scopes[0])
			}
			got := tt.got(stand)
			for _, token := range got {
				if token != tt.want {
					t.Errorf("the service was shown %q", token)
				}
			}
			if len(got) == 0 {
				t.Error("the service was shown no token")
			}
		})
	}
}

// TestIdentityOfTheProgram sends with the identity that the environment gives
// this program.
func TestIdentityOfTheProgram(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", tenant)
	t.Setenv("AZURE_CLIENT_ID", clientID)
	t.Setenv("AZURE_CLIENT_SECRET", "client-secret")
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	stand := &clouds{}
	proxy := stand.internet(t).Start(t)
	s, err := newAzureDevOps(Target{Address: "https://dev.azure.com/org/project/_git/repo", Proxy: proxy, Client: clientOf(proxy, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, sample()); err != nil {
		t.Fatal(err)
	}
	if len(stand.bearers) != 2 || stand.bearers[0] != "Bearer "+cloudToken {
		t.Errorf("the service was shown %q", stand.bearers)
	}
}

// TestIdentityIsRefused asserts that no identity is lent where it must not be.
func TestIdentityIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ spec, says string }{
		"the gate is off":    {`{"type":"azuredevops","address":"https://dev.azure.com/o/p/_git/r","serviceAccountName":"robot"}`, auth.FeatureGateObjectLevelWorkloadIdentity},
		"host of another":    {`{"type":"azuredevops","address":"https://git.example.com/o/p/_git/r"}`, "dev.azure.com"},
		"not encrypted":      {`{"type":"azuredevops","address":"http://dev.azure.com/o/p/_git/r"}`, "dev.azure.com"},
		"hub of another":     {`{"type":"azureeventhub","address":"hub","channel":"x.servicebus.windows.net.example.com"}`, "servicebus.windows.net"},
		"type without a use": {`{"type":"slack","address":"https://hooks.slack.com/x","serviceAccountName":"robot"}`, "serviceAccountName"},
	} {
		if _, err := (&Loader{Secrets: secretsIn{}}).Load(t.Context(), providerOf(t, tt.spec)); !IsFinal(err) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
