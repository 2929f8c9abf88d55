package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/cache"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirhq/weir/internal/secrets"
)

const installationToken = "ghs_installation-token"

func appSecret(change func(map[string][]byte)) map[string][]byte {
	s := map[string][]byte{"githubAppID": []byte("1234"), "githubAppInstallationID": []byte("5678"), "githubAppPrivateKey": []byte(testKey())}
	change(s)
	return s
}

// asApp is an answer of GitHub to a call that the app has signed.
func asApp(t *testing.T, method, path, answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method || r.URL.Path != path {
			t.Errorf("got %s %s, want %s %s", r.Method, r.URL.Path, method, path)
		}
		key, err := rsaKey([]byte(testKey()))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := jwt.ParseSigned(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := signed.Claims(key.Public(), &claims); err != nil {
			t.Fatal(err)
		}
		if now := time.Now(); claims.Issuer != "1234" || claims.IssuedAt.Time().After(now) || claims.Expiry.Time().Before(now) || claims.Expiry.Time().After(now.Add(10*time.Minute)) {
			t.Errorf("claims %+v", claims)
		}
		_, _ = fmt.Fprint(w, answer)
	}
}

func tokenAnswer() string {
	text, err := json.Marshal(map[string]any{"token": installationToken, "expires_at": time.Now().Add(time.Hour)})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestGitHubApp(t *testing.T) {
	const tokens = "/api/v3/app/installations/5678/access_tokens"
	for name, tt := range map[string]struct {
		change  func(map[string][]byte)
		answers func(t *testing.T) []http.HandlerFunc
	}{
		"installation": {func(map[string][]byte) {}, func(t *testing.T) []http.HandlerFunc {
			return []http.HandlerFunc{asApp(t, "POST", tokens, tokenAnswer())}
		}},
		"owner is an organization": {func(s map[string][]byte) {
			delete(s, "githubAppInstallationID")
			s["githubAppInstallationOwner"] = []byte("weirhq")
		}, func(t *testing.T) []http.HandlerFunc {
			return []http.HandlerFunc{asApp(t, "GET", "/api/v3/orgs/weirhq/installation", `{"id":5678}`), asApp(t, "POST", tokens, tokenAnswer())}
		}},
		"owner is a user": {func(s map[string][]byte) {
			delete(s, "githubAppInstallationID")
			s["githubAppInstallationOwner"] = []byte("someone")
		}, func(t *testing.T) []http.HandlerFunc {
			return []http.HandlerFunc{status(404), asApp(t, "GET", "/api/v3/users/someone/installation", `{"id":5678}`), asApp(t, "POST", tokens, tokenAnswer())}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cached, err := cache.NewTokenCache(10)
			if err != nil {
				t.Fatal(err)
			}
			answers := tt.answers(t)
			to := newSink(t, answers...)
			for _, kind := range []string{"github", "githubpullrequestcomment", "githubdispatch"} {
				target := targetAt(kind, to.URL)
				target.Token, target.GitHubApp, target.Identity.tokens = "", appSecret(tt.change), cached
				s, err := byName[kind].New(target)
				if err != nil {
					t.Fatal(err)
				}
				if err := send(t.Context(), s, sample()); err != nil {
					t.Fatal(err)
				}
			}
			if want := len(answers) + 5; len(to.seen) != want { // two, two and one
				t.Errorf("%d requests, want %d", len(to.seen), want)
			}
			for _, r := range to.seen[len(answers):] {
				if got := r.Header.Get("Authorization"); got != "Bearer "+installationToken {
					t.Errorf("%s %s with %q", r.Method, r.URL.Path, got)
				}
			}
		})
	}
}

// TestGitHubAppAnswers asserts that no answer to the app leaks its key, is
// read without end, or is taken for a token.
func TestGitHubAppAnswers(t *testing.T) {
	secrets.Register(testKey())
	for name, answer := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "bad "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		},
		"no token": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) },
		"nonsense": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `null`) },
		"long": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"token":%q}`, strings.Repeat("x", 4<<20))
		},
		"elsewhere": status(307, "Location", "http://127.0.0.1:1/"),
	} {
		to := newSink(t, answer)
		target := targetAt("github", to.URL)
		target.Token, target.GitHubApp = "", appSecret(func(map[string][]byte) {})
		s, err := newGitHub(target)
		if err != nil {
			t.Fatal(err)
		}
		err = send(t.Context(), s, sample())
		if err == nil || strings.Contains(err.Error(), "eyJ") || len(err.Error()) > 1000 || len(to.seen) != 1 {
			t.Errorf("%s: got %v after %d requests", name, err, len(to.seen))
		}
	}
}

func TestGitHubAppRefuses(t *testing.T) {
	change := func(f func(map[string][]byte)) func(*Target) {
		return func(t *Target) { t.GitHubApp = appSecret(f) }
	}
	refuses(t, "github", map[string]func(*Target){
		"no number":        change(func(s map[string][]byte) { s["githubAppID"] = []byte(planted) }),
		"no installation":  change(func(s map[string][]byte) { delete(s, "githubAppInstallationID") }),
		"two of them":      change(func(s map[string][]byte) { s["githubAppInstallationOwner"] = []byte("weirhq") }),
		"bad installation": change(func(s map[string][]byte) { s["githubAppInstallationID"] = []byte("../x") }),
		"no key":           change(func(s map[string][]byte) { s["githubAppPrivateKey"] = []byte(planted) }),
		"bad address":      change(func(s map[string][]byte) { s["githubAppBaseURL"] = []byte("ftp://" + planted) }),
	})
}

func TestGitHubAppAddress(t *testing.T) {
	target := targetAt("github", "https://git.example.com")
	target.GitHubApp = appSecret(func(s map[string][]byte) { s["githubAppBaseURL"] = []byte("https://api.example.com/base") })
	api, _, _, err := githubAPI(target.Address)
	if err != nil {
		t.Fatal(err)
	}
	app, err := newGitHubApp(target, api)
	if err != nil || app.api.String() != "https://api.example.com/base" {
		t.Errorf("asks %v, %v", app.api, err)
	}
}

// TestSlowTokensDelayNobody asserts that an endpoint for tokens that does not
// answer holds up no other Provider.
func TestSlowTokensDelayNobody(t *testing.T) {
	tokens, err := cache.NewTokenCache(10)
	if err != nil {
		t.Fatal(err)
	}
	asked, ended := make(chan struct{}), make(chan struct{})
	slow := newSink(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	quick := newSink(t, asApp(t, "POST", "/api/v3/app/installations/5678/access_tokens", tokenAnswer()))
	store := secretsIn{"app": appSecret(func(map[string][]byte) {})}
	loader := &Loader{Secrets: store, Tokens: tokens}
	load := func(name string, to *sink) *Loaded {
		p := providerOf(t, `{"type":"githubdispatch","address":"`+to.URL+`/o/r","secretRef":{"name":"app"}}`)
		p.Name, p.UID = name, types.UID(name)
		l, err := loader.Load(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		if err := load("slow", slow).Send(ctx, anAlert(), sample()); err == nil {
			t.Error("an endpoint that does not answer gave a token")
		}
	}()
	<-asked
	if err := load("quick", quick).Send(t.Context(), anAlert(), sample()); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
		t.Error("the slow one ended first, which shows nothing")
	default:
	}
	cancel()
	<-ended
}
