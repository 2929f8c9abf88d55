package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Errors of a fetch. ErrTooLarge and ErrArchive are of one, too.
var (
	ErrNotFound = errors.New("artifact not found") // the server has it no more: wait for a new one
	ErrDigest   = errors.New("artifact does not match its digest")
	ErrServer   = errors.New("artifact server cannot be reached or fails")
)

var errGivenUp = errors.New("fetch given up")

// FetcherOptions say where artifacts are unpacked and what they may cost.
type FetcherOptions struct {
	Dir          string // folder of the cache; made when it is not there
	MaxBytes     int64  // of one artifact, unpacked as well as packed; 0 means 1 GiB
	MaxFiles     int    // entries of one artifact; 0 means 200,000
	CacheBytes   int64  // kept unpacked on disk beyond what is in use; 0 means 1 GiB
	CacheItems   int    // artifacts kept, each of which costs an open file; 0 means 256
	Retries      int    // after the first try, on connection errors, 429 and 5xx; 0 means none
	HostOverride string // host[:port] to ask instead of the one in the URL; for programs outside of the cluster

	Identity *Identity // shown to the hosts that it is for; nil for none
}

// Fetcher downloads, verifies and unpacks artifacts, each digest once, however
// many ask for it. It is safe for concurrent use.
type Fetcher struct {
	o      FetcherOptions
	client *http.Client
	cache  cache
	pause  func(try int) time.Duration // before the try-th retry; replaced in tests

	mu      sync.Mutex
	flights map[string]*flight // by digest and place
}

// flight is one artifact on its way. It ends early when nobody waits any more.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int  // guarded by Fetcher.mu, as the rest
	given   bool // up, because the last waiter left
	item    *item
	tree    *Tree // keeps item in the cache until the waiters have theirs
	err     error
}

// NewFetcher returns a Fetcher over the folder o.Dir. It removes what a crash has
// left there, so a folder belongs to one process.
func NewFetcher(o FetcherOptions) (*Fetcher, error) {
	if o.Dir == "" {
		return nil, errors.New("a fetcher needs a folder for its cache")
	}
	o.MaxBytes = orDefault(o.MaxBytes, 1<<30)
	o.MaxFiles = orDefault(o.MaxFiles, 200_000)
	o.CacheBytes = orDefault(o.CacheBytes, 1<<30)
	o.CacheItems = orDefault(o.CacheItems, 256)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the artifact cache: %w", err)
	}
	sweep(o.Dir)
	return &Fetcher{
		o:       o,
		client:  newClient(o.Identity),
		cache:   cache{limit: o.CacheBytes, maxItems: o.CacheItems, items: map[string]*item{}},
		pause:   backOff,
		flights: map[string]*flight{},
	}, nil
}

func orDefault[T int | int64](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Fetch returns the tree of the artifact at url whose bytes have the given digest
// ("sha256:…"). The caller closes the tree. The errors are ErrNotFound,
// ErrDigest, ErrTooLarge, ErrArchive, ErrServer, that of ctx, and the disk's.
func (f *Fetcher) Fetch(ctx context.Context, url, digest string) (*Tree, error) {
	return f.load(ctx, url, digest, func(ctx context.Context, w *os.File) error {
		return f.download(ctx, url, w)
	})
}

// Cached returns the tree of an artifact that needs no fetching; nil if there is
// none. The caller closes it.
func (f *Fetcher) Cached(digest string) *Tree {
	t := f.cache.get(digest)
	if t != nil {
		requests.Count(true)
	}
	return t
}

// Load is Fetch for an artifact that open reads from somewhere else. Its errors
// are passed on.
func (f *Fetcher) Load(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (*Tree, error) {
	return f.load(ctx, "", digest, func(ctx context.Context, w *os.File) error {
		r, err := open()
		if err != nil {
			return err
		}
		defer r.Close()
		return f.copy(w, r)
	})
}

// Unpack is Load for content that only who can read it may see: it is read each
// time, whatever the cache holds, and gone when the tree is closed.
func (f *Fetcher) Unpack(ctx context.Context, digest string, open func() (io.ReadCloser, error)) (*Tree, error) {
	want, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	it, err := f.make(ctx, want, func(_ context.Context, w *os.File) error {
		r, err := open()
		if err != nil {
			return err
		}
		defer r.Close()
		return f.copy(w, r)
	})
	if err != nil {
		return nil, err
	}
	alone := &cache{items: map[string]*item{}} // without room for what nobody holds
	return alone.add(it), nil
}

func (f *Fetcher) load(ctx context.Context, place, sum string, read func(context.Context, *os.File) error) (*Tree, error) {
	want, err := parseDigest(sum)
	if err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t := f.cache.get(sum)
		requests.Count(t != nil)
		if t != nil {
			return t, nil
		}
		fl := f.join(ctx, sum+" "+place, want, read)
		select {
		case <-fl.done:
		case <-ctx.Done():
		}
		t, err = f.leave(fl)
		if t == nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, errGivenUp) {
			continue // joined in the moment in which the last waiter left
		}
		return t, err
	}
}

// join waits with others for the artifact that key names, or sets out for it.
func (f *Fetcher) join(ctx context.Context, key string, want digest.Digest, read func(context.Context, *os.File) error) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.flights[key]; fl != nil {
		fl.waiters++
		return fl
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	fl := &flight{done: make(chan struct{}), cancel: cancel, waiters: 1}
	f.flights[key] = fl
	go func() {
		it, err := f.guarded(ctx, want, read)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.flights, key)
		if fl.err = err; err == nil {
			fl.tree = f.cache.add(it)
			fl.item = fl.tree.hold.item
			if fl.waiters == 0 {
				fl.tree.Close()
			}
		}
		close(fl.done)
		cancel()
	}()
	return fl
}

// leave ends one caller's wait and returns its share of the result, if there is one.
func (f *Fetcher) leave(fl *flight) (*Tree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.waiters--
	select {
	case <-fl.done:
	default:
		if fl.waiters == 0 {
			fl.given = true
			fl.cancel()
		}
		return nil, nil
	}
	if fl.err != nil && fl.given {
		return nil, errGivenUp
	}
	if fl.err != nil {
		return nil, fl.err
	}
	f.cache.mu.Lock()
	t := fl.item.tree()
	f.cache.mu.Unlock()
	if fl.waiters == 0 {
		fl.tree.Close()
	}
	return t, nil
}

// guarded is make on nobody's goroutine, where a panic would end the process.
func (f *Fetcher) guarded(ctx context.Context, want digest.Digest, read func(context.Context, *os.File) error) (it *item, err error) {
	defer func() {
		if p := recover(); p != nil {
			it, err = nil, fmt.Errorf("%w: internal error (please report it): %v", ErrArchive, p)
		}
	}()
	return f.make(ctx, want, read)
}

// make reads an artifact to disk, verifies and unpacks it.
func (f *Fetcher) make(ctx context.Context, want digest.Digest, read func(context.Context, *os.File) error) (_ *item, err error) {
	packed, err := scratch(f.o.Dir)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	if err := read(ctx, packed); err != nil {
		return nil, err
	}
	if err := verify(packed, want); err != nil {
		return nil, err
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return nil, pathless(err)
	}
	content, err := scratch(f.o.Dir)
	if err != nil {
		return nil, err
	}
	root, size, err := unpack(&cancellable{ctx, packed}, content, limits{bytes: f.o.MaxBytes, files: f.o.MaxFiles})
	if err != nil {
		content.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return &item{digest: string(want), root: root, file: content, size: size}, nil
}

func verify(f *os.File, want digest.Digest) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return pathless(err)
	}
	d := want.Algorithm().Digester()
	if _, err := io.Copy(d.Hash(), f); err != nil {
		return pathless(err)
	}
	if got := d.Digest(); got != want {
		return fmt.Errorf("%w: expected %s, got %s", ErrDigest, want, got)
	}
	return nil
}

// copy writes r to w from its start, within the bound on bytes.
func (f *Fetcher) copy(w *os.File, r io.Reader) error {
	if _, err := w.Seek(0, io.SeekStart); err != nil {
		return pathless(err)
	}
	if err := w.Truncate(0); err != nil {
		return pathless(err)
	}
	n, err := io.Copy(diskWriter{w}, io.LimitReader(r, f.o.MaxBytes+1))
	if n > f.o.MaxBytes {
		return fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, f.o.MaxBytes)
	}
	return pathless(err)
}

// cancellable ends when its context does.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// pathless drops the names of temporary files from an error.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return err
}
