// Package remote fetches what kustomizations name by URL: folders of Git
// repositories, and files. It is the only way a build has to the network; a
// program that forbids remote bases makes no Loader, and then nothing is dialled.
//
// What was fetched is named by what it is, a commit or the hash of a file, and
// kept in memory by that name. Whether a URL still stands for it is asked each
// time, unless it names a commit.
package remote

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/gitrepo"
)

// Options of a Loader. Only Dir is required.
type Options struct {
	// Dir holds mirrors of repositories. It belongs to one process at a time.
	Dir string
	// Hosts are those that may be asked, as host or host:port, wherever they are.
	// Empty allows all hosts except addresses of the node: loopback and link-local.
	Hosts []string
	// Timeout bounds one fetch; a minute by default.
	Timeout time.Duration
	// MaxBytes bounds the files of one repository, and a file; 64 MiB by default.
	MaxBytes int64
	// Client is for https files; by default one of its own. For tests.
	Client *http.Client
}

// maxFiles bounds the files of one repository.
const maxFiles = 20_000

// maxKept bounds what is kept in memory, as a multiple of Options.MaxBytes.
const maxKept = 2

// Loader implements build.RemoteLoader. It is safe for concurrent use.
type Loader struct {
	o      Options
	policy policy
	pool   *gitrepo.Pool
	client *http.Client
	flight singleflight.Group

	mu    sync.Mutex
	kept  map[string]*list.Element // of *content, by ID
	order *list.List
	bytes int64
}

// content is what was fetched.
type content struct {
	id    string
	tree  *artifact.Tree
	name  string // of a file in tree; "" for a repository
	bytes int64
}

var _ build.RemoteLoader = (*Loader)(nil)

// New returns a Loader. It dials nothing before it is asked to.
func New(o Options) (*Loader, error) {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 64 << 20
	}
	p := policy{hosts: o.Hosts}
	pool, err := gitrepo.NewPool(gitrepo.Options{Dir: o.Dir, MaxPackBytes: 4 * o.MaxBytes, MaxObjectBytes: o.MaxBytes,
		MaxMirrors: 100, MaxBytes: 20 * o.MaxBytes, Dial: p.dial})
	if err != nil {
		return nil, err
	}
	l := &Loader{o: o, policy: p, pool: pool, client: o.Client, kept: map[string]*list.Element{}, order: list.New()}
	if l.client == nil {
		l.client = &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: p.dial, ForceAttemptHTTP2: true,
				TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConns: 20, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				switch {
				case len(via) > 5:
					return fmt.Errorf("%w: more than 5 redirects", build.ErrRemote)
				case req.URL.Scheme != via[0].URL.Scheme:
					return fmt.Errorf("%w: redirect to another scheme, %s", build.ErrRemote, req.URL.Scheme)
				}
				return p.check(req.URL)
			},
		}
	}
	return l, nil
}

// Close gives the folder back.
func (l *Loader) Close() error { return l.pool.Close() }

// Resolve implements build.RemoteLoader: the ID of what a URL stands for now.
func (l *Loader) Resolve(ctx context.Context, raw string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	a, err := l.address(raw)
	if err != nil {
		return "", err
	}
	if a.file != nil {
		c, err := l.file(ctx, a.file)
		if err != nil {
			return "", err
		}
		return c.id, nil
	}
	repo, err := l.pool.Open(a.repo, gitrepo.Auth{})
	if err != nil {
		return "", fmt.Errorf("%w: %w", build.ErrRemote, err)
	}
	rev, err := poll(ctx, repo, a.ref)
	if err != nil {
		return "", fmt.Errorf("%w: %w", build.ErrRemote, err)
	}
	return "git " + rev.Hash, nil
}

func (l *Loader) address(raw string) (address, error) {
	a, err := parse(raw)
	if err != nil {
		return a, err
	}
	u := a.file
	if u == nil {
		if u, err = url.Parse(a.repo); err != nil {
			return a, fmt.Errorf("%w: it is not a URL", build.ErrRemote)
		}
	}
	return a, l.policy.check(u)
}

// poll finds a ref as git does when it fetches one: a commit, a tag, a branch.
func poll(ctx context.Context, repo *gitrepo.Repo, ref string) (gitrepo.Revision, error) {
	switch {
	case ref == "":
		return repo.Poll(ctx, gitrepo.Ref{Name: "HEAD"})
	case commitHash.MatchString(ref):
		return repo.Poll(ctx, gitrepo.Ref{Commit: ref})
	case strings.HasPrefix(ref, "refs/"):
		return repo.Poll(ctx, gitrepo.Ref{Name: ref})
	}
	rev, err := repo.Poll(ctx, gitrepo.Ref{Tag: ref})
	if errors.Is(err, gitrepo.ErrNotFound) {
		rev, err = repo.Poll(ctx, gitrepo.Ref{Branch: ref})
	}
	return rev, err
}

// Load implements build.RemoteLoader. id is what Resolve has returned.
func (l *Loader) Load(ctx context.Context, raw, id string) (*build.Remote, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	a, err := l.address(raw)
	if err != nil {
		return nil, err
	}
	var c *content
	at := a.dir
	if a.file != nil {
		if c = l.get(id); c == nil { // pushed out of memory since
			if c, err = l.file(ctx, a.file); err != nil {
				return nil, err
			}
		}
		id, at = c.id, "/"+c.name
	} else if c, err = l.repository(ctx, a, id); err != nil {
		return nil, err
	}
	return &build.Remote{ID: id, Name: nameOf(a, id), Tree: c.tree, Path: at}, nil
}

// nameOf is where the content is shown to be.
func nameOf(a address, id string) string {
	u := a.file
	if u == nil {
		if u, _ = url.Parse(a.repo); u == nil {
			u = &url.URL{}
		}
	}
	_, hash, _ := strings.Cut(id, " ")
	return path.Join(strings.ReplaceAll(u.Host, ":", "_"), u.Path) + "@" + hash[:min(len(hash), 12)]
}

func (l *Loader) file(ctx context.Context, u *url.URL) (*content, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not a URL", build.ErrRemote)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which may hold a password
		}
		return nil, fmt.Errorf("%w: host %q: %w", build.ErrRemote, u.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: host %q answers %s", build.ErrRemote, u.Host, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, l.o.MaxBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: host %q: %w", build.ErrRemote, u.Host, err)
	case int64(len(data)) > l.o.MaxBytes:
		return nil, fmt.Errorf("%w: it has more than %d bytes (--remote-bases-max-size)", build.ErrRemote, l.o.MaxBytes)
	}
	name := path.Base(path.Join("/", u.Path))
	if name == "/" || strings.Contains(strings.ToLower(name), "kustomization") {
		name = "file.yaml" // a file, whatever it is called
	}
	c := &content{id: fmt.Sprintf("sha256 %x", sha256.Sum256(append([]byte(name+"\x00"), data...))), name: name,
		tree: artifact.NewTree(map[string][]byte{name: data}, nil), bytes: int64(len(data))}
	l.keep(c)
	return c, nil
}

// repository returns the files of a commit. Fetches of one commit at one time are one.
func (l *Loader) repository(ctx context.Context, a address, id string) (*content, error) {
	key := id + " " + a.repo
	if c := l.get(key); c != nil {
		return c, nil
	}
	_, hash, _ := strings.Cut(id, " ")
	repo, err := l.pool.Open(a.repo, gitrepo.Auth{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", build.ErrRemote, err)
	}
	v, err, _ := l.flight.Do(key, func() (any, error) {
		if c := l.get(key); c != nil {
			return c, nil
		}
		rev, err := poll(ctx, repo, a.ref) // answered from Resolve's poll; a server may want the name
		if err != nil {
			return nil, err
		}
		rev.Hash = hash
		if _, err := repo.Fetch(ctx, rev); err != nil {
			return nil, err
		}
		files, total := map[string][]byte{}, int64(0)
		err = repo.View(ctx, hash, func(v *gitrepo.View) error { return l.read(ctx, v, "", files, &total) })
		if err != nil {
			return nil, err
		}
		c := &content{id: key, tree: artifact.NewTree(files, nil), bytes: total}
		l.keep(c)
		return c, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", build.ErrRemote, err)
	}
	return v.(*content), nil
}

// read collects the files below a folder. Links and submodules are left out, as
// they are of artifacts.
func (l *Loader) read(ctx context.Context, v *gitrepo.View, dir string, files map[string][]byte, total *int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := v.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name)
		switch {
		case e.Symlink || e.Submodule:
		case e.Dir:
			if err := l.read(ctx, v, p, files, total); err != nil {
				return err
			}
		default:
			data, err := v.ReadFile(p, l.o.MaxBytes)
			if err != nil {
				return err
			}
			files[p] = data
			if *total += int64(len(data)); *total > l.o.MaxBytes || len(files) > maxFiles {
				return fmt.Errorf("the repository has more than %d bytes (--remote-bases-max-size) or %d files: use a GitRepository", l.o.MaxBytes, maxFiles)
			}
		}
	}
	return nil
}

func (l *Loader) get(id string) *content {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.kept[id]
	if !ok {
		return nil
	}
	l.order.MoveToFront(e)
	return e.Value.(*content)
}

func (l *Loader) keep(c *content) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.kept[c.id]; ok {
		return
	}
	l.kept[c.id] = l.order.PushFront(c)
	for l.bytes += c.bytes; l.bytes > maxKept*l.o.MaxBytes; {
		old := l.order.Remove(l.order.Back()).(*content)
		delete(l.kept, old.id)
		l.bytes -= old.bytes
	}
}
