package artifact

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeToken(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestIdentityIsForItsHosts(t *testing.T) {
	i, err := NewIdentity(writeToken(t, "s3cret-token\n"), []string{"source-controller.flux-system.svc.cluster.local.", "store:8080"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"http://source-controller.flux-system.svc.cluster.local./a":   true,
		"http://source-controller.flux-system.svc.cluster.local/a":    true,
		"http://Source-Controller.flux-system.svc.cluster.local:80/a": true,
		"http://store:8080/a": true,
		"http://store/a":      false,
		"http://source-controller.flux-system.svc.cluster.local:9090/a":     false,
		"https://source-controller.flux-system.svc.cluster.local/a":         false,
		"http://source-controller.flux-system.svc.cluster.local.evil.com/a": false,
		"http://evil.com/source-controller.flux-system.svc.cluster.local":   false,
	} {
		r := httptest.NewRequest(http.MethodGet, address, nil)
		if err := i.Authorize(r); err != nil {
			t.Fatal(err)
		}
		if got := r.Header.Get("Authorization"); (got == "Bearer s3cret-token") != want || !want && got != "" {
			t.Errorf("%s was shown %q, want a token: %t", address, got, want)
		}
	}
}

// TestIdentityIsReadAgain asserts that a renewed token is used after a while.
func TestIdentityIsReadAgain(t *testing.T) {
	file := writeToken(t, "first-token")
	i, err := NewIdentity(file, []string{"store"})
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		r := httptest.NewRequest(http.MethodGet, "http://store/a", nil)
		if err := i.Authorize(r); err != nil {
			t.Fatal(err)
		}
		return r.Header.Get("Authorization")
	}
	first := shown()
	if err := os.WriteFile(file, []byte("second-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := shown()
	i.read = time.Now().Add(-2 * tokenAge)
	if later := shown(); first != "Bearer first-token" || again != first || later != "Bearer second-token" {
		t.Errorf("shown were %q, %q and %q", first, again, later)
	}
}

func TestIdentityStaysOnRedirect(t *testing.T) {
	var taken string
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { taken = r.Header.Get("Authorization") }))
	defer thief.Close()
	front := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusFound))
	defer front.Close()
	i, err := NewIdentity(writeToken(t, "s3cret-token"), []string{strings.TrimPrefix(front.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFetcher(FetcherOptions{Dir: t.TempDir(), Identity: i})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fetch(t.Context(), front.URL+"/a", "sha256:"+strings.Repeat("0", 64)); err == nil || taken != "" {
		t.Errorf("the redirect's target was shown %q (%v)", taken, err)
	}
}

func TestIdentityRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		hosts []string
	}{
		"no file": {"", []string{"store"}}, "no host": {"/token", nil}, "a URL": {"/token", []string{"http://store"}}, "an empty host": {"/token", []string{""}},
	} {
		if _, err := NewIdentity(c.file, c.hosts); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
	if i, err := NewIdentity("", nil); i != nil || err != nil || i.Authorize(httptest.NewRequest(http.MethodGet, "http://store/", nil)) != nil {
		t.Errorf("nothing asked for: %v, %v", i, err)
	}
	for name, text := range map[string]string{"empty": "\n", "two lines": "a\nb", "too long": strings.Repeat("a", maxToken+1)} {
		i, err := NewIdentity(writeToken(t, text), []string{"store"})
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Authorize(httptest.NewRequest(http.MethodGet, "http://store/", nil)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
