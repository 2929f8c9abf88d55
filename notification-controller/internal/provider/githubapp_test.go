package provider

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/githubapp/apptest"
)

// appTarget is one whose Secret describes the App of api, with more keys and values.
func appTarget(kind, address string, api *apptest.API, tokens *githubapp.Tokens, more ...string) Target {
	t := targetAt(kind, address)
	t.Client, t.Token, t.Apps, t.GitHubApp = clientOf(nil, nil), "", tokens, map[string][]byte{}
	for key, value := range api.Secret(more...) {
		t.GitHubApp[key] = []byte(value)
	}
	return t
}

// TestGitHubApp asserts that three types send with one token of the installation.
func TestGitHubApp(t *testing.T) {
	for name, which := range map[string][2]string{
		"installation":             {githubapp.KeyInstallation, "7"},
		"owner is an organization": {githubapp.KeyOwner, "org"},
		"owner is a user":          {githubapp.KeyOwner, "anna"},
	} {
		t.Run(name, func(t *testing.T) {
			api, to, tokens := apptest.Start(t), newSink(t), githubapp.NewTokens(githubapp.TokensOptions{})
			for _, kind := range []string{"github", "githubpullrequestcomment", "githubdispatch"} {
				s, err := byName[kind].New(appTarget(kind, to.URL, api, tokens, which[0], which[1]))
				if err != nil {
					t.Fatal(err)
				}
				if err := send(t.Context(), s, sample()); err != nil {
					t.Fatal(err)
				}
			}
			if n := api.Tokens.Load(); n != 1 || len(to.seen) != 5 { // two, two and one
				t.Errorf("%d tokens and %d requests, want 1 and 5", n, len(to.seen))
			}
			for _, r := range to.seen {
				if got := r.Header.Get("Authorization"); got != "Bearer "+api.Token {
					t.Errorf("%s %s with %q", r.Method, r.URL.Path, got)
				}
			}
		})
	}
}

// TestGitHubAppAddress asserts that tokens come from the API of the repository, unless
// the Secret names another one.
func TestGitHubAppAddress(t *testing.T) {
	api := apptest.Start(t)
	to := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v3/app/installations/7/access_tokens" {
			t.Errorf("got %s %s", r.Method, r.URL.Path)
		}
		_, _ = fmt.Fprintf(w, `{"token":"of-the-repository","expires_at":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	})
	target := appTarget("githubdispatch", to.URL, api, githubapp.NewTokens(githubapp.TokensOptions{}), githubapp.KeyInstallation, "7", githubapp.KeyBaseURL, " ")
	s, err := newGitHubDispatch(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, sample()); err != nil {
		t.Fatal(err)
	}
	if got := to.seen[len(to.seen)-1].Header.Get("Authorization"); got != "Bearer of-the-repository" {
		t.Errorf("sent with %q", got)
	}
}

// TestGitHubAppIsBusy asserts that GitHub is left alone for as long as it asks for.
func TestGitHubAppIsBusy(t *testing.T) {
	api := apptest.Start(t)
	api.Fail.Store(func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "77")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	s, err := newGitHub(appTarget("github", newSink(t).URL, api, githubapp.NewTokens(githubapp.TokensOptions{}), githubapp.KeyInstallation, "7"))
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, sample()); err == nil || IsFinal(err) || RetryAfter(err) != 77*time.Second {
		t.Errorf("got %v, to be sent again after %s", err, RetryAfter(err))
	}
}

func TestGitHubAppRefuses(t *testing.T) {
	api := apptest.Start(t)
	change := func(f func(map[string][]byte)) func(*Target) {
		return func(t *Target) {
			t.GitHubApp = appTarget("github", "", api, nil, githubapp.KeyInstallation, "7").GitHubApp
			f(t.GitHubApp)
		}
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

// TestSlowTokensDelayNobody asserts that an endpoint for tokens that does not
// answer holds up no other Provider.
func TestSlowTokensDelayNobody(t *testing.T) {
	api := apptest.Start(t)
	asked, ended := make(chan struct{}), make(chan struct{})
	slow := newSink(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	quick := newSink(t)
	app := func(more ...string) map[string][]byte {
		return appTarget("github", "", api, nil, append(more, githubapp.KeyInstallation, "7")...).GitHubApp
	}
	loader := &Loader{Secrets: secretsIn{"slow": app(githubapp.KeyBaseURL, slow.URL), "quick": app()}, Apps: githubapp.NewTokens(githubapp.TokensOptions{})}
	load := func(name string, to *sink) *Loaded {
		p := providerOf(t, `{"type":"githubdispatch","address":"`+to.URL+`/o/r","secretRef":{"name":"`+name+`"}}`)
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
