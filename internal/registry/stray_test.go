package registry_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/upstream"
)

// elsewhere is a server that writes down the credentials it is sent.
type elsewhere struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newElsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		_ = r.ParseForm()
		if got := r.Header.Get("Authorization") + r.Form.Get("refresh_token"); got != "" {
			e.seen = append(e.seen, got)
		}
		fmt.Fprint(w, `{"token":"t"}`)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *elsewhere) stolen() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// TestCredentialsStay asserts that credentials do not follow a registry that sends
// logins or requests to another host.
func TestCredentialsStay(t *testing.T) {
	other := newElsewhere(t)
	realm := strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/token" // the library refuses addresses itself
	challenge := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer t" {
				h.ServeHTTP(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
	}
	redirect := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
		})
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Certificate().Raw})
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		auth authn.AuthConfig
	}{
		"password": {challenge, authn.AuthConfig{Username: "robot", Password: "correct-horse"}},
		"token":    {challenge, authn.AuthConfig{IdentityToken: "correct-horse"}},
		"redirect": {redirect, authn.AuthConfig{Username: "robot", Password: "correct-horse"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, repository := server(t, false, c.wrap)
			a := registry.Access{Repository: repository, Insecure: true, Auth: c.auth, TLS: upstream.Material{CA: authority}}
			tags, err := (&registry.Client{}).Tags(t.Context(), a)
			if name != "redirect" && (err == nil || !strings.Contains(err.Error(), "not sent to another site") || strings.Contains(err.Error(), "correct-horse")) {
				t.Errorf("got %q, %v; want to be told of the other site", tags, err)
			}
			if got := other.stolen(); len(got) > 0 {
				t.Errorf("another host was sent %q", got)
			}
		})
	}
}
