package gitrepo

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A host that asks for time is left alone by all repositories with the same
// credentials, and not by others.
func TestBusyHostsAreLeftAlone(t *testing.T) {
	for name, wait := range map[string]struct {
		header string
		want   time.Duration
	}{"for a time": {"1800", 30 * time.Minute}, "without a time": {"", 10 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				if wait.header != "" {
					w.Header().Set("Retry-After", wait.header)
				}
				w.WriteHeader(http.StatusTooManyRequests)
			}))
			t.Cleanup(server.Close)
			p := pool(t, Options{})
			look := func(path string, auth Auth) time.Duration {
				t.Helper()
				r, err := p.Open(server.URL+path, auth)
				if err != nil {
					t.Fatal(err)
				}
				_, err = r.Poll(t.Context(), Ref{Branch: "main"})
				return RetryAfter(err)
			}
			mine := Auth{Username: "me", Password: "secret"}
			for i, path := range []string{"/a.git", "/b.git", "/a.git"} {
				if after := look(path, mine); after <= wait.want-5*time.Second || after > wait.want {
					t.Errorf("look %d: to be left alone for %s, want %s", i, after, wait.want)
				}
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("it was asked %d times, want once", n)
			}
			look("/a.git", Auth{Username: "you", Password: "secret"})
			if n := asked.Load(); n != 2 {
				t.Errorf("with other credentials it was asked %d times, want twice", n)
			}
		})
	}
}
