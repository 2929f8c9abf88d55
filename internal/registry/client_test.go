package registry_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/upstream"
)

// server starts a registry behind a middleware and pushes tags of one image to it.
func server(t *testing.T, tls bool, wrap func(http.Handler) http.Handler, tags ...string) (*httptest.Server, name.Repository) {
	t.Helper()
	handler := ggcr.New(ggcr.Logger(silent()))
	plain := httptest.NewServer(handler)
	defer plain.Close()
	for _, tag := range tags {
		ref, err := name.NewTag(strings.TrimPrefix(plain.URL, "http://") + "/org/app:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, empty.Image); err != nil {
			t.Fatal(err)
		}
	}
	s := httptest.NewUnstartedServer(wrap(handler))
	s.Config.ErrorLog = silent()
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	repository, err := registry.ParseRepository(u.Host+"/org/app", false)
	if err != nil {
		t.Fatal(err)
	}
	return s, repository
}

func basicAuth(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "correct" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestTagsAndDigest(t *testing.T) {
	var requests atomic.Int64
	s, repository := server(t, true, func(h http.Handler) http.Handler {
		h = basicAuth(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests.Add(1); h.ServeHTTP(w, r) })
	}, "1.0.0", "1.1.0")
	access := registry.Access{
		Repository: repository, Auth: authn.AuthConfig{Username: "robot", Password: "correct"},
		TLS: upstream.Material{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})},
	}
	c := &registry.Client{}
	for round := range 3 {
		before := requests.Load()
		tags, err := c.Tags(t.Context(), access)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(tags)
		if diff := cmp.Diff([]string{"1.0.0", "1.1.0"}, tags); diff != "" {
			t.Error(diff)
		}
		if n := requests.Load() - before; round > 0 && n != 1 {
			t.Errorf("a scan after the first cost %d requests, want 1", n)
		}
	}
	want, err := empty.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := c.Digest(t.Context(), access, "1.0.0"); err != nil || digest != want.String() {
		t.Errorf("got %q, %v; want %q", digest, err, want)
	}
	if _, err := c.Digest(t.Context(), access, "nope"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}

	wrong := access
	wrong.Auth.Password = "wrong-password"
	if _, err := c.Tags(t.Context(), wrong); !errors.Is(err, registry.ErrCredentials) || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("got %v, want ErrCredentials without the password", err)
	}
	anonymous := access
	anonymous.Auth = authn.AuthConfig{}
	if _, err := c.Tags(t.Context(), anonymous); !errors.Is(err, registry.ErrCredentials) {
		t.Errorf("got %v, want ErrCredentials", err)
	}
	untrusted := access
	untrusted.TLS = upstream.Material{}
	if _, err := c.Tags(t.Context(), untrusted); err == nil {
		t.Error("a certificate of an unknown authority was accepted")
	}
	if tags, err := c.Tags(t.Context(), access); err != nil || len(tags) != 2 {
		t.Errorf("the right credentials do not work any more: %v, %v", tags, err)
	}
}

// TestRecovers asserts that a failure is not remembered.
func TestRecovers(t *testing.T) {
	var down atomic.Bool
	_, repository := server(t, false, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				http.Error(w, "broken", http.StatusInternalServerError)
				return
			}
			h.ServeHTTP(w, r)
		})
	}, "a")
	c := &registry.Client{}
	down.Store(true)
	if _, err := c.Tags(t.Context(), registry.Access{Repository: repository}); err == nil {
		t.Fatal("a broken registry gave an answer")
	}
	down.Store(false)
	if tags, err := c.Tags(t.Context(), registry.Access{Repository: repository}); err != nil || len(tags) != 1 {
		t.Errorf("got %v, %v", tags, err)
	}
}

// paged serves count tags in pages of what is asked for, up to limit; larger
// pages are refused, as some registries do.
func paged(count, limit int, requests *atomic.Int64) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") {
				h.ServeHTTP(w, r)
				return
			}
			requests.Add(1)
			n, err := strconv.Atoi(r.URL.Query().Get("n"))
			if err != nil || n > limit {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"errors":[{"code":"PAGINATION_NUMBER_INVALID","message":"invalid number of results requested"}]}`)
				return
			}
			from, _ := strconv.Atoi(r.URL.Query().Get("last"))
			to := min(from+n, count)
			tags := []string{}
			for i := from; i < to; i++ {
				tags = append(tags, fmt.Sprintf("v%d", i))
			}
			if to < count {
				w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%d>; rel="next"`, r.URL.Path, n, to))
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"name": "org/app", "tags": tags})
		})
	}
}

func TestPages(t *testing.T) {
	for name, c := range map[string]struct{ limit, requests int }{
		"large pages":         {limit: 10_000, requests: 3},
		"only pages of 1,000": {limit: 1_000, requests: 1 + 25},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			_, repository := server(t, false, paged(25_000, c.limit, &requests))
			client := &registry.Client{}
			tags, err := client.Tags(t.Context(), registry.Access{Repository: repository})
			if err != nil || len(tags) != 25_000 || tags[24_999] != "v24999" {
				t.Fatalf("got %d tags, %v", len(tags), err)
			}
			if got := requests.Load(); got != int64(c.requests) {
				t.Errorf("cost %d requests, want %d", got, c.requests)
			}
		})
	}
}

// TestHostileRegistry holds answers that are meant to hurt.
func TestHostileRegistry(t *testing.T) {
	answer := func(link, body string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/tags/list") {
					w.Header().Set("Link", link)
					fmt.Fprint(w, body)
					return
				}
				h.ServeHTTP(w, r)
			})
		}
	}
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		text string
	}{
		"sends us elsewhere": {answer(`<http://169.254.169.254/latest>; rel="next"`, `{"tags":["a"]}`), "another host"},
		"never ends":         {answer(`</v2/org/app/tags/list?n=1>; rel="next"`, `{"tags":["a"]}`), "never ends"},
		"endless body":       {answer("", `{"tags":["`+strings.Repeat("a", 33<<20)+`"]}`), "larger than allowed"},
		"no JSON":            {answer("", "<html>"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, repository := server(t, false, c.wrap)
			if tags, err := (&registry.Client{}).Tags(t.Context(), registry.Access{Repository: repository}); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %d tags, %v; want an error with %q", len(tags), err, c.text)
			}
		})
	}
	_, repository := server(t, false, answer("", `{"tags":["ok","../up","a b","x\n","-dash","`+strings.Repeat("a", 129)+`"]}`))
	tags, err := (&registry.Client{}).Tags(t.Context(), registry.Access{Repository: repository})
	if diff := cmp.Diff([]string{"ok"}, tags); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestBusy asserts that a registry which asks to wait is left alone, by all
// repositories of the same host and credential.
func TestBusy(t *testing.T) {
	for header, wait := range map[string]time.Duration{"120": 2 * time.Minute, "": 10 * time.Second} {
		t.Run("Retry-After "+header, func(t *testing.T) { testBusy(t, header, wait) })
	}
}

func testBusy(t *testing.T, header string, wait time.Duration) {
	var requests atomic.Int64
	s, repository := server(t, false, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			w.WriteHeader(http.StatusTooManyRequests)
		})
	})
	c := &registry.Client{}
	_, err := c.Tags(t.Context(), registry.Access{Repository: repository})
	busy, ok := errors.AsType[*registry.Busy](err)
	if !ok || busy.After < wait/2 || busy.After > wait {
		t.Fatalf("got %v, want Busy for %s", err, wait)
	}
	before := requests.Load()
	other, err := registry.ParseRepository(strings.TrimPrefix(s.URL, "http://")+"/org/other", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tags(t.Context(), registry.Access{Repository: other}); err == nil {
		t.Error("another repository of a busy registry gave an answer")
	}
	if requests.Load() != before {
		t.Error("a busy registry was asked again")
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	_, repository := server(t, false, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := (&registry.Client{}).Tags(ctx, registry.Access{Repository: repository}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

// silent is a logger that says nothing.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
