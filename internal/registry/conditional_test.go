package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/testenv"
)

// tagged gives entity tags to lists of two pages, and counts what it sends.
type tagged struct {
	http.Handler
	mu    sync.Mutex
	edits int // of the second page

	requests, empty atomic.Int64
}

func (s *tagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/tags/list") {
		s.Handler.ServeHTTP(w, r)
		return
	}
	s.requests.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	tag, body := `"first"`, `{"tags":["a"]}`
	if r.URL.Query().Get("last") == "a" {
		tag, body = fmt.Sprintf(`W/"second-%d"`, s.edits), fmt.Sprintf(`{"tags":["b%d"]}`, s.edits)
	} else {
		w.Header().Set("Link", `</v2/org/app/tags/list?last=a>; rel="next"`)
	}
	if r.Header.Get("If-None-Match") == tag {
		w.Header().Del("Link") // it may be left out
		s.empty.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", tag)
	fmt.Fprint(w, body)
}

// TestConditional asserts that a list which has not changed is not sent again,
// page by page, and that nobody sees what was kept for another.
func TestConditional(t *testing.T) {
	s := &tagged{}
	_, repository := server(t, false, func(h http.Handler) http.Handler { s.Handler = h; return s })
	c := &registry.Client{}
	access := registry.Access{Repository: repository}
	list := func(want string, requests, empty int64) {
		t.Helper()
		hits := testenv.Metric(t, "weir_cache_requests_total", "cache", "registry_tags", "result", "hit")
		misses := testenv.Metric(t, "weir_cache_requests_total", "cache", "registry_tags", "result", "miss")
		s.requests.Store(0)
		s.empty.Store(0)
		tags, err := c.Tags(t.Context(), access)
		if diff := cmp.Diff([]string{"a", want}, tags); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
		if s.requests.Load() != requests || s.empty.Load() != empty {
			t.Errorf("%d requests with %d empty answers, want %d and %d", s.requests.Load(), s.empty.Load(), requests, empty)
		}
		hits = testenv.Metric(t, "weir_cache_requests_total", "cache", "registry_tags", "result", "hit") - hits
		misses = testenv.Metric(t, "weir_cache_requests_total", "cache", "registry_tags", "result", "miss") - misses
		if hits != float64(empty) || misses != float64(requests-empty) {
			t.Errorf("measured as %v hits and %v misses", hits, misses)
		}
	}
	list("b0", 2, 0)
	list("b0", 2, 2)
	s.mu.Lock()
	s.edits = 1
	s.mu.Unlock()
	list("b1", 2, 1)
	list("b1", 2, 2)
	access.Auth = authn.AuthConfig{Username: "somebody", Password: "else"}
	list("b1", 2, 0)
}

// TestBusyAtOnce asserts that a single 429 is enough: it is not tried again.
func TestBusyAtOnce(t *testing.T) {
	var requests atomic.Int64
	_, repository := server(t, false, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") {
				h.ServeHTTP(w, r)
				return
			}
			requests.Add(1)
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		})
	})
	if _, err := (&registry.Client{}).Tags(t.Context(), registry.Access{Repository: repository}); err == nil {
		t.Error("a busy registry gave an answer")
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("a busy registry was asked %d times", n)
	}
}
