package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// origin serves archives by path and counts requests.
type origin struct {
	*httptest.Server
	requests atomic.Int64
}

func serve(t *testing.T, h http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		h(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

func serveBytes(t *testing.T, data []byte) *origin {
	return serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(data) })
}

func newFetcher(t *testing.T, o FetcherOptions) *Fetcher {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	f, err := NewFetcher(o)
	if err != nil {
		t.Fatal(err)
	}
	f.pause = func(int) time.Duration { return time.Millisecond }
	t.Cleanup(func() {
		left, err := os.ReadDir(o.Dir)
		if err == nil && len(left) > 0 {
			t.Errorf("%d files are left in the cache folder", len(left))
		}
	})
	return f
}

func mustFetch(t *testing.T, f *Fetcher, url, sum string) *Tree {
	t.Helper()
	tree, err := f.Fetch(t.Context(), url, sum)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func mustRead(t *testing.T, tree *Tree, p, want string) {
	t.Helper()
	if got, err := tree.ReadFile(p); err != nil || string(got) != want {
		t.Errorf("ReadFile(%q) = %q, %v; want %q", p, got, err, want)
	}
}

func TestFetch(t *testing.T) {
	data, sum := archive(t,
		entry{name: "apps/", kind: tar.TypeDir}, entry{name: "apps/a.yaml", data: "kind: A"},
		entry{name: "run.sh", data: "#!/bin/sh", mode: 0o700}, entry{name: "link", kind: tar.TypeSymlink, link: "apps"},
		entry{name: "empty"}, entry{name: "twice", data: "first"}, entry{name: "twice", data: "second"})
	o := serveBytes(t, data)
	f := newFetcher(t, FetcherOptions{})
	tree := mustFetch(t, f, o.URL+"/a.tar.gz", sum)
	mustRead(t, tree, "link/a.yaml", "kind: A")
	mustRead(t, tree, "empty", "")
	mustRead(t, tree, "twice", "second")
	if info, _ := tree.Stat("run.sh"); !info.Executable {
		t.Error("run.sh is not executable")
	}
	if tree.Digest() != sum {
		t.Errorf("Digest() = %q, want %q", tree.Digest(), sum)
	}
	layer := tree.With(map[string][]byte{"apps/kustomization.yaml": []byte("x")})
	mustRead(t, layer, "apps/kustomization.yaml", "x")
	mustRead(t, layer, "apps/a.yaml", "kind: A")
	mustFetch(t, f, o.URL+"/other/url.tar.gz", sum)
	if n := o.requests.Load(); n != 1 {
		t.Errorf("%d downloads of one digest, want 1", n)
	}
}

func TestFetchConcurrent(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: "content"})
	release := make(chan struct{})
	o := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write(data)
	})
	f := newFetcher(t, FetcherOptions{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			tree, err := f.Fetch(t.Context(), o.URL, sum)
			if err != nil {
				t.Error(err)
				return
			}
			defer tree.Close()
			mustRead(t, tree, "a", "content")
		})
	}
	for waiting(f) < 20 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	all.Wait()
	if n := o.requests.Load(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func waiting(f *Fetcher) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, fl := range f.flights {
		n += fl.waiters
	}
	return n
}

// One caller's end is not the others'.
func TestFetchOneGivesUp(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: "content"})
	release := make(chan struct{})
	o := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write(data)
	})
	f := newFetcher(t, FetcherOptions{})
	first, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := f.Fetch(first, o.URL, sum)
		gone <- err
	}()
	for waiting(f) < 1 {
		time.Sleep(time.Millisecond)
	}
	stays := make(chan error)
	go func() {
		tree, err := f.Fetch(t.Context(), o.URL, sum)
		if err == nil {
			tree.Close()
		}
		stays <- err
	}()
	for waiting(f) < 2 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled fetch ends with %v", err)
	}
	close(release)
	if err := <-stays; err != nil {
		t.Errorf("the other fetch ends with %v", err)
	}
}

func TestFetchFailures(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: strings.Repeat("content", 1000)})
	_, otherSum := archive(t, entry{name: "b"})
	junk := []byte("this is no archive")
	tests := map[string]struct {
		sum      string
		handler  http.HandlerFunc
		o        FetcherOptions
		want     error
		requests int64
	}{
		"not there":        {sum, http.NotFound, FetcherOptions{Retries: 3}, ErrNotFound, 1},
		"refused":          {sum, status(403), FetcherOptions{Retries: 3}, nil, 1},
		"always 500":       {sum, status(500), FetcherOptions{Retries: 3}, ErrServer, 4},
		"wrong bytes":      {otherSum, write(data), FetcherOptions{Retries: 3}, ErrDigest, 1},
		"no digest":        {"", write(data), FetcherOptions{}, ErrDigest, 0},
		"odd digest":       {"md5:d41d8cd98f00b204e9800998ecf8427e", write(data), FetcherOptions{}, ErrDigest, 0},
		"short digest":     {"sha256:abcd", write(data), FetcherOptions{}, ErrDigest, 0},
		"told too large":   {sum, write(bytes.Repeat([]byte("x"), 2000)), FetcherOptions{MaxBytes: 1000, Retries: 3}, ErrTooLarge, 1},
		"endless":          {sum, endless, FetcherOptions{MaxBytes: 1 << 20, Retries: 3}, ErrTooLarge, 1},
		"unpacks to a lot": {sum, write(data), FetcherOptions{MaxBytes: 5000}, ErrTooLarge, 1},
		"no archive":       {digest.FromBytes(junk).String(), write(junk), FetcherOptions{Retries: 3}, ErrArchive, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := serve(t, tt.handler)
			f := newFetcher(t, tt.o)
			_, err := f.Fetch(t.Context(), o.URL+"/a.tar.gz?token=hush", tt.sum)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Fetch fails with %v, want %v", err, tt.want)
			}
			if n := o.requests.Load(); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
			if text := fmt.Sprint(err); strings.Contains(text, "hush") || strings.Contains(text, f.o.Dir) {
				t.Errorf("the error tells too much: %s", text)
			}
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func write(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 32<<10)); err != nil {
			return
		}
	}
}

func TestFetchRetries(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: strings.Repeat("content", 10000)})
	var n atomic.Int64
	o := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
		case 2: // reset before an answer
			panic(http.ErrAbortHandler)
		case 3: // reset in the middle of the body
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:len(data)/2])
			panic(http.ErrAbortHandler)
		default:
			w.Write(data)
		}
	})
	mustFetch(t, newFetcher(t, FetcherOptions{Retries: 3}), o.URL, sum)
	if got := o.requests.Load(); got < 4 {
		t.Errorf("%d requests, want 4", got)
	}
}

// A server that sends a byte now and then costs no more than the caller's time.
func TestFetchTrickle(t *testing.T) {
	_, sum := archive(t, entry{name: "a"})
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			w.Write([]byte{0x1f})
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Millisecond):
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	f := newFetcher(t, FetcherOptions{Retries: 9})
	if _, err := f.Fetch(ctx, o.URL, sum); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch fails with %v, want the deadline", err)
	}
	for waiting(f) != 0 || flying(f) != 0 { // hangs if the download goes on
		time.Sleep(time.Millisecond)
	}
}

func flying(f *Fetcher) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flights)
}

func TestFetchAlgorithms(t *testing.T) {
	data, _ := archive(t, entry{name: "a", data: "content"})
	o := serveBytes(t, data)
	sums := []string{
		fmt.Sprintf("sha1:%x", sha1.Sum(data)),
		fmt.Sprintf("sha384:%x", sha512.Sum384(data)),
		fmt.Sprintf("sha512:%x", sha512.Sum512(data)),
		digest.BLAKE3.FromBytes(data).String(),
	}
	for _, sum := range sums {
		t.Run(sum[:6], func(t *testing.T) {
			mustRead(t, mustFetch(t, newFetcher(t, FetcherOptions{}), o.URL, sum), "a", "content")
		})
	}
}

func TestFetchHostOverride(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: "content"})
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/gitrepository/ns/name/x.tar.gz" {
			http.NotFound(w, r)
			return
		}
		w.Write(data)
	})
	u, _ := url.Parse(o.URL)
	f := newFetcher(t, FetcherOptions{HostOverride: u.Host})
	mustFetch(t, f, "http://source-controller.flux-system.svc.cluster.local./gitrepository/ns/name/x.tar.gz", sum)
}

// What is in use stays, what is not goes when the cache is full, the longest
// unused first.
func TestCacheBounds(t *testing.T) {
	var bodies [4][]byte
	var sums [4]string
	for i := range bodies {
		bodies[i], sums[i] = archive(t, entry{name: "a", data: strings.Repeat(fmt.Sprint(i), 1000)})
	}
	o := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(bodies[r.URL.Path[1]-'0']) })
	f := newFetcher(t, FetcherOptions{CacheBytes: 2500})
	at := func(i int) *Tree { return mustFetch(t, f, fmt.Sprintf("%s/%d", o.URL, i), sums[i]) }
	held, b, c := at(0), at(1), at(2)
	if f.cache.bytes != 3000 {
		t.Fatalf("%d bytes are cached, want 3000 in use", f.cache.bytes)
	}
	mustRead(t, held, "a", strings.Repeat("0", 1000))
	c.Close()
	c.Close()
	if f.cache.bytes != 2000 {
		t.Errorf("%d bytes are cached after the third was given back, want 2000", f.cache.bytes)
	}
	b.Close()
	at(3).Close() // over the limit again: b goes
	if f.cache.get(sums[1]) != nil || f.cache.get(sums[3]) == nil {
		t.Error("the longest unused artifact did not go first")
	}
	mustRead(t, held, "a", strings.Repeat("0", 1000))
	if _, err := c.ReadFile("a"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed tree reads with %v, want %v", err, fs.ErrClosed)
	}
}

func TestCacheWiped(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: "content"})
	more, moreSum := archive(t, entry{name: "b", data: "more"})
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/more" {
			data = more
		}
		w.Write(data)
	})
	folder := t.TempDir() + "/cache"
	f := newFetcher(t, FetcherOptions{Dir: folder})
	tree := mustFetch(t, f, o.URL, sum)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	mustRead(t, tree, "a", "content")
	mustRead(t, mustFetch(t, f, o.URL+"/more", moreSum), "b", "more")
}

func TestCacheLeftovers(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(folder+"/scratch-1234", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	newFetcher(t, FetcherOptions{Dir: folder}) // its cleanup finds what is left
}

func TestLoad(t *testing.T) {
	data, sum := archive(t, entry{name: "a", data: "content"})
	f := newFetcher(t, FetcherOptions{})
	tree, err := f.Load(t.Context(), sum, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	mustRead(t, tree, "a", "content")
	if _, err := f.Load(t.Context(), "sha256:"+strings.Repeat("0", 64), func() (io.ReadCloser, error) { return nil, fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load fails with %v, want the opener's error", err)
	}
}

// TestPanicCostsOneFetch asserts that a panic over an artifact is an error for those who
// wait for it, and nothing to others or to the next attempt.
func TestPanicCostsOneFetch(t *testing.T) {
	f := newFetcher(t, FetcherOptions{})
	data, sum := archive(t, entry{name: "a.yaml", data: "kind: A"})
	if _, err := f.Load(t.Context(), sum, func() (io.ReadCloser, error) { panic("a slip") }); !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), "a slip") {
		t.Errorf("got %v", err)
	}
	tree, err := f.Load(t.Context(), sum, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	mustRead(t, tree, "a.yaml", "kind: A")
}
