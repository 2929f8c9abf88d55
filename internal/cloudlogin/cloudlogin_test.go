package cloudlogin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
)

func TestMain(m *testing.M) {
	undo := cloudtest.Trust()
	code := m.Run()
	undo()
	os.Exit(code)
}

// login logs in, and again: the second time the first answer must do.
func login(t *testing.T, r Request, repository string) (authn.AuthConfig, error) {
	t.Helper()
	l, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Repository, err = name.NewRepository(repository); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := l.Get(ctx, r)
	if err != nil {
		return got, err
	}
	again, err := l.Get(ctx, r)
	if err != nil || again != got {
		t.Errorf("the second login gave something else: %v", err)
	}
	return got, nil
}

func TestAWS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key")
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_SESSION_TOKEN", "")
	calls := 0
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{"api.ecr.eu-west-1.amazonaws.com": func(w http.ResponseWriter, r *http.Request) {
		calls++
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIATEST/") || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetAuthorizationToken") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		fmt.Fprintf(w, `{"authorizationData":[{"authorizationToken":%q,"expiresAt":%d}]}`,
			base64.StdEncoding.EncodeToString([]byte("AWS:ecr-password")), time.Now().Add(12*time.Hour).Unix())
	}}}
	got, err := login(t, Request{Provider: "aws", Proxy: n.Start(t)}, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app")
	if err != nil || got != (authn.AuthConfig{Username: "AWS", Password: "ecr-password"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if calls != 1 {
		t.Errorf("two logins cost %d calls, want 1", calls)
	}
}

func TestGCP(t *testing.T) {
	tokens := cloudtest.Metadata(t)
	got, err := login(t, Request{Provider: "gcp"}, "europe-west1-docker.pkg.dev/project/app")
	if err != nil || got != (authn.AuthConfig{Username: "oauth2accesstoken", Password: cloudtest.GoogleToken}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if n := tokens.Load(); n != 1 {
		t.Errorf("two logins cost %d calls, want 1", n)
	}
}

func TestAzure(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555")
	t.Setenv("AZURE_CLIENT_ID", "66666666-7777-8888-9999-000000000000")
	t.Setenv("AZURE_CLIENT_SECRET", "client-secret")
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	const tenant = "11111111-2222-3333-4444-555555555555"
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	refresh := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(map[string]any{"exp": time.Now().Add(3 * time.Hour).Unix()}) + ".c2ln"
	exchanges := 0
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{
		cloudtest.EntraHost: cloudtest.Entra(tenant, func(w http.ResponseWriter, r *http.Request) {
			if r.PostFormValue("client_secret") != "client-secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			answer(w, map[string]any{"access_token": "entra-token", "expires_in": 3600, "token_type": "Bearer"})
		}),
		"team.azurecr.io": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/oauth2/exchange" || r.PostFormValue("access_token") != "entra-token" || r.PostFormValue("service") != "team.azurecr.io" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			exchanges++
			answer(w, map[string]any{"refresh_token": refresh})
		},
	}}
	got, err := login(t, Request{Provider: "azure", Proxy: n.Start(t)}, "team.azurecr.io/app")
	if err != nil || got.Password+got.IdentityToken != refresh {
		t.Errorf("got %+v, %v; asked %q", got, err, n.Asked())
	}
	if exchanges != 1 {
		t.Errorf("two logins cost %d exchanges, want 1", exchanges)
	}
}

// TestRefused asserts that a provider which says no is reported, with nothing
// secret in it.
func TestRefused(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key")
	t.Setenv("AWS_CA_BUNDLE", "")
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{"api.ecr.eu-west-1.amazonaws.com": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"AccessDeniedException","message":"not authorized to perform ecr:GetAuthorizationToken"}`)
	}}}
	_, err := login(t, Request{Provider: "aws", Proxy: n.Start(t)}, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app")
	if !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), "ecr:GetAuthorizationToken") || strings.Contains(err.Error(), "secret-access-key") {
		t.Errorf("got %v", err)
	}
}

// TestHosts asserts that a token goes to hosts of its provider only.
func TestHosts(t *testing.T) {
	for provider, hosts := range map[string]map[string]bool{
		"aws": {
			"123456789012.dkr.ecr.eu-west-1.amazonaws.com": true, "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": true,
			"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": true, "123456789012.dkr-ecr.eu-west-1.on.aws": true, "public.ecr.aws": true,
			"123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test": false, "evil.test": false, "evil.test:443": false,
			"123456789012.dkr.ecr.eu-west-1.amazonaws.com:8443": false, "x.123456789012.dkr.ecr.eu-west-1.amazonaws.com": false,
			"123456789012.dkr.ecr.evil.test/.amazonaws.com": false,
		},
		"azure": {
			"team.azurecr.io": true, "team.azurecr.cn": true, "team.geo.azurecr.io": true,
			"azurecr.io": false, "team.azurecr.io.evil.test": false, "evil.test#.azurecr.io": false, "teamazurecr.io": false,
		},
		"gcp": {
			"gcr.io": true, "eu.gcr.io": true, "europe-west1-docker.pkg.dev": true, "docker.s3nsregistry.fr": true,
			"evilgcr.io": false, "gcr.io.evil.test": false, "evil.test/x-docker.pkg.dev": false, "evil.test-docker.pkg.dev": false,
		},
	} {
		for host, want := range hosts {
			if got := providers[provider].hosts.MatchString(host); got != want {
				t.Errorf("%s: %q is allowed: %t, want %t", provider, host, got, want)
			}
		}
	}
	for provider, repository := range map[string]string{"aws": "ghcr.io/org/app", "azure": "ghcr.io/org/app", "gcp": "ghcr.io/org/app", "generic": "ghcr.io/org/app"} {
		if _, err := login(t, Request{Provider: provider}, repository); !errors.Is(err, ErrRegistry) {
			t.Errorf("%s: got %v, want ErrRegistry", provider, err)
		}
	}
}

// TestGate asserts that somebody else's identity is used only where that is allowed.
func TestGate(t *testing.T) {
	if _, err := login(t, Request{Provider: "gcp", Namespace: "ns", ServiceAccount: "robot"}, "gcr.io/project/app"); !errors.Is(err, ErrGate) {
		t.Errorf("got %v, want ErrGate", err)
	}
}
