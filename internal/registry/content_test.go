package registry_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/weirhq/weir/internal/registry"
)

const noDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// content serves an image with one layer, an index that holds it, and a referrer
// of the image.
type content struct {
	access       registry.Access
	image, index string
	layer        string
	requests     atomic.Int64
	wrap         func(http.Handler) http.Handler // replaces the registry when set
}

func newContent(t *testing.T, referrersAPI bool) *content {
	t.Helper()
	c := &content{}
	handler := ggcr.New(ggcr.Logger(silent()), ggcr.WithReferrersSupport(referrersAPI))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		if c.wrap != nil {
			c.wrap(handler).ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if c.access.Repository, err = registry.ParseRepository(u.Host+"/org/app", false); err != nil {
		t.Fatal(err)
	}
	layer := static.NewLayer([]byte("the bytes of the layer"), "application/octet-stream")
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	must(t, err)
	must(t, remote.Write(c.access.Repository.Tag("v1"), image))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: empty.Image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	must(t, remote.WriteIndex(c.access.Repository.Tag("multi"), index))
	c.image, c.index, c.layer = digest(t, image), digest(t, index), digest(t, layer)

	h, err := v1.NewHash(c.image)
	must(t, err)
	size, err := image.Size()
	must(t, err)
	signature := mutate.Subject(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/x-signature"),
		v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: h, Size: size}).(v1.Image)
	must(t, remote.Write(c.access.Repository.Tag("signature"), signature))
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := of.Digest()
	must(t, err)
	return h.String()
}

func TestContent(t *testing.T) {
	s := newContent(t, true)
	c := &registry.Client{}
	for _, digest := range []string{s.image, s.index} {
		m, err := c.Image(t.Context(), s.access, digest)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Layers) != 1 || m.Layers[0].Digest.String() != s.layer {
			t.Errorf("%s: got the layers %v", digest, m.Layers)
		}
	}
	before := s.requests.Load()
	data, err := c.Read(t.Context(), s.access, s.layer, 100)
	if err != nil || string(data) != "the bytes of the layer" {
		t.Errorf("got %q, %v", data, err)
	}
	if n := s.requests.Load() - before; n != 1 {
		t.Errorf("a blob cost %d requests, want 1", n)
	}
	if _, err := c.Read(t.Context(), s.access, s.layer, 10); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	for what, ask := range map[string]func() error{
		"manifest": func() error { _, err := c.Manifest(t.Context(), s.access, noDigest); return err },
		"blob":     func() error { _, err := c.Blob(t.Context(), s.access, noDigest, 1); return err },
		"digest":   func() error { _, err := c.Digest(t.Context(), s.access, "missing"); return err },
	} {
		if err := ask(); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", what, err)
		}
	}
	for _, bad := range []string{"", "latest", "sha256:12", "sha512:" + strings.Repeat("0", 128)} {
		if _, err := c.Manifest(t.Context(), s.access, bad); !errors.Is(err, registry.ErrManifest) {
			t.Errorf("digest %q: got %v, want ErrManifest", bad, err)
		}
	}
}

func TestReferrers(t *testing.T) {
	for name, api := range map[string]bool{"by the API": true, "by the tag": false} {
		t.Run(name, func(t *testing.T) {
			s := newContent(t, api)
			c := &registry.Client{}
			found, err := c.Referrers(t.Context(), s.access, s.image, "application/x-signature")
			if err != nil || len(found) != 1 {
				t.Errorf("got %v, %v", found, err)
			}
			if found, err := c.Referrers(t.Context(), s.access, s.image, "application/x-other"); err != nil || len(found) > 0 {
				t.Errorf("another type: got %v, %v", found, err)
			}
			if found, err := c.Referrers(t.Context(), s.access, s.index, "application/x-signature"); err != nil || len(found) > 0 {
				t.Errorf("another subject: got %v, %v", found, err)
			}
		})
	}
}

// TestContentIsChecked asserts that a registry which answers with other bytes than
// asked for is not believed.
func TestContentIsChecked(t *testing.T) {
	s := newContent(t, true)
	swap := func(part, answer string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, part) {
					h.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Docker-Content-Digest", s.image)
				w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
				_, _ = io.WriteString(w, answer)
			})
		}
	}
	c := &registry.Client{}
	s.wrap = swap("/manifests/", `{"schemaVersion":2}`)
	if m, err := c.Manifest(t.Context(), s.access, s.image); err == nil {
		t.Errorf("another manifest was accepted: %s", m.Bytes)
	}
	s.wrap = swap("/blobs/", "other bytes, of this length")
	if data, err := c.Read(t.Context(), s.access, s.layer, 1000); err == nil {
		t.Errorf("another blob was accepted: %s", data)
	}
	s.wrap = swap("/manifests/", strings.Repeat(" ", 5<<20))
	if _, err := c.Manifest(t.Context(), s.access, s.image); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// TestDigestWithoutHead asserts that a registry which answers HEAD badly is asked
// by GET.
func TestDigestWithoutHead(t *testing.T) {
	s := newContent(t, true)
	c := &registry.Client{}
	for name, spoil := range map[string]func(w http.ResponseWriter){
		"no header":   func(w http.ResponseWriter) { w.Header().Set("Content-Type", string(types.OCIManifestSchema1)) },
		"not allowed": func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
	} {
		s.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					spoil(w)
					return
				}
				h.ServeHTTP(w, r)
			})
		}
		if got, err := c.Digest(t.Context(), s.access, "v1"); err != nil || got != s.image {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, s.image)
		}
	}
}

// TestPlainHTTP asserts that a registry in a private network is not asked without
// TLS unless that is allowed.
func TestPlainHTTP(t *testing.T) {
	s := newContent(t, true)
	proxy, err := url.Parse("http://" + s.access.Repository.RegistryStr()) // whatever the name, it answers
	must(t, err)
	var plain atomic.Int64
	s.wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				http.Error(w, "no TLS here", http.StatusBadGateway)
				return
			}
			plain.Add(1)
			h.ServeHTTP(w, r)
		})
	}
	for _, c := range []struct {
		host     string
		insecure bool
		asked    bool
	}{
		{"10.1.2.3", false, false},
		{"registry.local", false, false},
		{"registry.example.com", false, false},
		{"10.1.2.3", true, true},
		{"registry.example.com", true, true},
	} {
		repository, err := registry.ParseRepository(c.host+"/org/app", c.insecure)
		must(t, err)
		plain.Store(0)
		a := registry.Access{Repository: repository, Insecure: c.insecure, Proxy: proxy}
		_, err = (&registry.Client{}).Digest(t.Context(), a, "v1")
		if (err == nil) != c.asked || (plain.Load() > 0) != c.asked {
			t.Errorf("%s, insecure %t: %d requests in plain text, %v", c.host, c.insecure, plain.Load(), err)
		}
	}
}
