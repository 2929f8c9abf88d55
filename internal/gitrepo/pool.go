// Package gitrepo is the Git engine: it finds out whether a ref has moved,
// fetches the change alone, reads files without a work tree, and commits and
// pushes edits.
//
// A Pool keeps bare mirrors on disk, one per repository and credential. A poll
// is one ls-refs of protocol v2, answered with the refs asked for only. A
// fetch is one request at depth 1 that names the commits which are here and
// asks for a thin pack, so that it costs what changed and not what exists.
// Servers that speak protocol v0 only are served as well; their polls cost the
// list of all refs.
//
// Mirrors survive restarts and crashes. One that is damaged is thrown away and
// fetched anew.
package gitrepo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/upstream"
)

// Options shape a Pool. Zero values mean the defaults.
type Options struct {
	// Dir holds the mirrors. It belongs to one process at a time.
	Dir string

	MaxPackBytes   int64 // of one fetch, on the wire; default 2 GiB
	MaxObjectBytes int64 // of one file, inflated; default 256 MiB
	MaxMirrors     int   // kept on disk; default 1000
	MaxBytes       int64 // kept on disk; default 20 GiB
	Heavy          int   // large packs indexed at the same time; default 2

	// PollShare is how long the answer to a poll is given to others who ask
	// the same; default 1 s, negative: only to those who wait for it already.
	PollShare time.Duration

	// AllowLocal lets repositories name servers of this machine; for tests.
	AllowLocal bool
	// Dial connects over HTTP and decides what may be connected to; nil is the
	// usual way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	KexAlgos, HostKeyAlgos []string // of SSH; default those of golang.org/x/crypto/ssh

	repackAfter int // for tests
}

// Pool holds mirrors. All methods may be called at the same time.
type Pool struct {
	o     Options
	heavy chan struct{}

	mu         sync.Mutex
	lock       *os.File // nil until the first Open
	key        []byte   // of the names of the mirrors' folders
	entries    map[string]*poolEntry
	transports map[string]*http.Transport // by digest of the proxy and the TLS settings
	patience   upstream.Patience          // with hosts, of everybody with the same credentials
}

// poolEntry is one mirror and what is shared by those who use it.
type poolEntry struct {
	m     *mirror
	polls *polls
	users int
	used  time.Time
	bytes int64
}

// NewPool makes a pool. The folder is locked and read at the first Open, so
// that a standby process may start beside the one that works.
func NewPool(o Options) (*Pool, error) {
	if o.Dir == "" {
		return nil, errors.New("a pool of mirrors needs a folder")
	}
	orDefault(&o.MaxPackBytes, 2<<30)
	orDefault(&o.MaxObjectBytes, 256<<20)
	orDefault(&o.MaxMirrors, 1000)
	orDefault(&o.MaxBytes, 20<<30)
	orDefault(&o.Heavy, 2)
	orDefault(&o.PollShare, time.Second)
	orDefault(&o.repackAfter, repackAfter)
	return &Pool{o: o, heavy: make(chan struct{}, o.Heavy), entries: map[string]*poolEntry{}, transports: map[string]*http.Transport{}}, nil
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Close gives the folder and idle connections back. Nothing may be in use.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.transports {
		t.CloseIdleConnections()
	}
	if p.lock == nil {
		return nil
	}
	err := p.lock.Close()
	p.lock, p.entries = nil, map[string]*poolEntry{}
	return err
}

// Open names a repository. It is cheap and dials nothing. User and password in
// the URL are used where auth has none. Errors wrap ErrURL and ErrAuth.
func (p *Pool) Open(rawURL string, auth Auth) (*Repo, error) {
	addr, err := parseAddress(rawURL)
	if err != nil {
		return nil, err
	}
	auth = auth.withURL(addr)
	if err := auth.check(addr); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.acquire(); err != nil {
		return nil, err
	}
	identity := auth.fields()
	if auth.Scope != "" {
		identity = []string{"scope", auth.Scope}
	}
	r := &Repo{pool: p, addr: addr, key: digest(p.key, append(identity, addr.String())...), who: digest(p.key, auth.fields()...)}
	r.client = &client{}
	if addr.scheme == "ssh" {
		r.client.t = &sshTransport{addr: addr, auth: auth, o: &p.o}
		return r, nil
	}
	rt, err := p.roundTripper(auth)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuth, err)
	}
	r.client.t = newHTTPTransport(addr, auth, rt, &p.patience, r.who)
	return r, nil
}

func (p *Pool) roundTripper(auth Auth) (*http.Transport, error) {
	id := digest(p.key, auth.proxy(), strconv.FormatBool(auth.Foreign), string(auth.CA), string(auth.ClientCert), string(auth.ClientKey))
	if t, ok := p.transports[id]; ok {
		return t, nil
	}
	cfg, err := auth.tls()
	if err != nil {
		return nil, err
	}
	t := newRoundTripper(cfg, auth.Proxy, p.o.control(auth))
	if p.o.Dial != nil {
		t.DialContext = p.o.Dial
	}
	p.transports[id] = t
	return t, nil
}

// acquire locks the folder and reads what is in it. p.mu is held.
func (p *Pool) acquire() error {
	if p.lock != nil {
		return nil
	}
	if err := os.MkdirAll(p.o.Dir, 0o700); err != nil {
		return fmt.Errorf("the folder of the git mirrors: %w", bare(err))
	}
	lock, err := os.OpenFile(filepath.Join(p.o.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("the folder of the git mirrors: %w", bare(err))
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("the folder of the git mirrors is in use by another process: %w", err), lock.Close())
	}
	if err := p.load(); err != nil {
		return errors.Join(fmt.Errorf("the folder of the git mirrors: %w", bare(err)), lock.Close())
	}
	p.lock = lock
	return nil
}

// load reads the key and lists the mirrors of an earlier process.
func (p *Pool) load() error {
	path := filepath.Join(p.o.Dir, "key")
	key, err := os.ReadFile(path)
	if err != nil || len(key) != 32 {
		key = make([]byte, 32)
		_, _ = rand.Read(key)
		if err := os.WriteFile(path, key, 0o600); err != nil {
			return err
		}
	}
	p.key = key
	dirs, err := os.ReadDir(p.o.Dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		info, err := d.Info()
		if err != nil || !d.IsDir() {
			continue
		}
		if len(d.Name()) != 32 { // trash that a removal left
			if err := os.RemoveAll(filepath.Join(p.o.Dir, d.Name())); err != nil {
				return err
			}
			continue
		}
		e := p.entry(d.Name())
		e.used, e.bytes = info.ModTime(), e.m.size()
	}
	return nil
}

// entry finds or makes the entry of a key. p.mu is held.
func (p *Pool) entry(key string) *poolEntry {
	e := p.entries[key]
	if e == nil {
		e = &poolEntry{m: newMirror(filepath.Join(p.o.Dir, key)), polls: newPolls(p.o.PollShare)}
		e.m.repackAfter = p.o.repackAfter
		p.entries[key] = e
	}
	return e
}

// use takes an entry, so that it is not evicted; release gives it back.
func (p *Pool) use(key string) (e *poolEntry, release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lock == nil {
		return nil, nil, errors.New("the pool of git mirrors is closed")
	}
	e = p.entry(key)
	e.users++
	e.used = time.Now()
	return e, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		e.users--
	}, nil
}

// grown notes the size of a mirror and makes room. p.mu is not held.
func (p *Pool) grown(e *poolEntry) {
	size := e.m.size()
	now := time.Now()
	_ = os.Chtimes(e.m.dir, now, now) // the order of use, for the next process
	p.mu.Lock()
	defer p.mu.Unlock()
	e.bytes = size
	p.evict()
}

// evict removes the least recently used mirrors above the bounds. p.mu is held.
func (p *Pool) evict() {
	var total int64
	idle := make([]string, 0, len(p.entries))
	for key, e := range p.entries {
		total += e.bytes
		if e.users == 0 {
			idle = append(idle, key)
		}
	}
	slices.SortFunc(idle, func(a, b string) int { return p.entries[a].used.Compare(p.entries[b].used) })
	for _, key := range idle {
		if len(p.entries) <= p.o.MaxMirrors && total <= p.o.MaxBytes {
			return
		}
		e := p.entries[key]
		// Nobody uses it and nobody can while p.mu is held. Renamed first: a
		// crash in between leaves no mirror that has lost some of its files.
		trash := e.m.dir + ".trash"
		if os.Rename(e.m.dir, trash) == nil {
			_ = os.RemoveAll(trash)
		}
		total -= e.bytes
		delete(p.entries, key)
	}
}
