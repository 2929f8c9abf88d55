package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Repo is one repository reached with one credential. It holds nothing open
// and needs no closing. All methods may be called at the same time.
type Repo struct {
	pool   *Pool
	addr   address
	key    string // of the mirror
	who    string // of the credential, which may be renewed while the mirror stays
	client *client
}

// URL is the repository's address without user, password and query.
func (r *Repo) URL() string { return r.addr.String() }

// fail says which repository an error is about. It keeps a bare end of the
// context recognisable.
func (r *Repo) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("git repository %q: %w", r.addr, err)
}

// mirror takes the mirror for reading and makes sure that it is open.
func (r *Repo) mirror(ctx context.Context) (*mirror, func(), error) {
	e, release, err := r.pool.use(r.key)
	if err != nil {
		return nil, nil, err
	}
	if err := r.prepare(ctx, e.m); err != nil {
		release()
		return nil, nil, err
	}
	return e.m, release, nil
}

func (r *Repo) prepare(ctx context.Context, m *mirror) error {
	if m.ready() {
		return nil
	}
	if err := m.writer.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer m.writer.Release(1)
	return m.ensure(ctx)
}

// Poll finds the commit a ref stands for now: one request, shared with others
// who ask the same within Options.PollShare (see Fresh). A Ref with a Commit
// costs none; whether it exists is told by Fetch. Errors: ErrNotFound for the
// repository or ref, ErrURL for a ref that can never be, ErrAuth,
// ErrUnreachable, ErrHostKey.
func (r *Repo) Poll(ctx context.Context, ref Ref) (Revision, error) {
	if ref.Commit != "" {
		rev, err := ref.commitRevision()
		return rev, r.fail(err)
	}
	t, err := ref.target()
	if err != nil {
		return Revision{}, r.fail(err)
	}
	refs, err := r.list(ctx, t.prefixes)
	if err != nil {
		return Revision{}, r.fail(err)
	}
	found, shown, err := t.pick(refs)
	if err != nil {
		if len(refs) == 0 && r.empty(ctx) {
			err = fmt.Errorf("%w: %w", err, ErrEmpty)
		}
		return Revision{}, r.fail(err)
	}
	rev := Revision{Ref: shown, Name: found.Name, Hash: found.commit().String()}
	if !found.Peeled.IsZero() {
		rev.Tag = found.Hash.String()
	}
	return rev, nil
}

// empty tells whether there is no ref of the usual kinds. The first question is
// cheap, and enough for almost every repository that is not empty.
func (r *Repo) empty(ctx context.Context) bool {
	for _, prefixes := range [][]string{{"HEAD"}, {"refs/heads/", "refs/tags/"}} {
		if refs, err := r.list(ctx, prefixes); err != nil || len(refs) > 0 {
			return false
		}
	}
	return true
}

func (r *Repo) list(ctx context.Context, prefixes []string) ([]remoteRef, error) {
	e, release, err := r.pool.use(r.key)
	if err != nil {
		return nil, err
	}
	defer release()
	c := e.polls.client(r)
	refs, err := e.polls.do(ctx, r.who+" "+strings.Join(prefixes, " "), func(ctx context.Context) ([]remoteRef, error) {
		return c.listRefs(ctx, prefixes)
	})
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
	return refs, err
}

// Fetch brings a commit with all its files. Nothing is asked when it is here;
// otherwise one request brings what differs from the commits that are here. A
// damaged mirror is fetched anew. Where the server does not give a commit by
// its hash, the history of the revision's ref is searched. Errors: as of Poll,
// and ErrTooLarge, ErrBadTree.
func (r *Repo) Fetch(ctx context.Context, rev Revision) (Commit, error) {
	return r.fetch(ctx, rev, "")
}

// FetchTag is Fetch that also brings the annotated tag of the revision, if it
// has one, for View.RawTag.
func (r *Repo) FetchTag(ctx context.Context, rev Revision) (Commit, error) {
	return r.fetch(ctx, rev, rev.Tag)
}

// fetch brings a commit and, where tag is its hash, an annotated tag.
func (r *Repo) fetch(ctx context.Context, rev Revision, tag string) (Commit, error) {
	if !plumbing.IsHash(rev.Hash) {
		return Commit{}, r.fail(fmt.Errorf("commit %q: %w: not a hash", rev.Hash, ErrNotFound))
	}
	m, release, err := r.mirror(ctx)
	if err != nil {
		return Commit{}, r.fail(err)
	}
	defer release()
	h := plumbing.NewHash(rev.Hash)
	if c, err := m.commit(ctx, h); err == nil && m.hasTag(h, tag) {
		return c, nil
	}
	c, err := r.bring(ctx, m, h, rev, tag)
	if err != nil {
		return Commit{}, r.fail(fmt.Errorf("fetch of %q: %w", rev, err))
	}
	return c, nil
}

// bring is fetch for what is not here.
func (r *Repo) bring(ctx context.Context, m *mirror, h plumbing.Hash, rev Revision, tag string) (Commit, error) {
	if err := m.writer.Acquire(ctx, 1); err != nil {
		return Commit{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer m.writer.Release(1)
	if err := m.ensure(ctx); err != nil {
		return Commit{}, err
	}
	if c, err := m.commit(ctx, h); err == nil && m.hasTag(h, tag) { // another has brought it meanwhile
		return c, nil
	}
	e, release, err := r.pool.use(r.key)
	if err != nil {
		return Commit{}, err
	}
	defer release()
	before, err := m.packs()
	if err != nil {
		return Commit{}, err
	}
	c := e.polls.client(r)
	err = r.fetchOnce(ctx, c, m, h, rev)
	if errors.Is(err, ErrIncomplete) && ctx.Err() == nil {
		if err := errors.Join(m.wipe(ctx), m.ensure(ctx)); err != nil {
			return Commit{}, err
		}
		err = r.fetchOnce(ctx, c, m, h, rev)
	}
	if err != nil {
		m.discard(ctx, before)
		return Commit{}, err
	}
	if err := m.maybeRepack(ctx); err != nil {
		return Commit{}, err
	}
	r.pool.grown(e)
	return m.commit(ctx, h)
}

func (r *Repo) fetchOnce(ctx context.Context, c *client, m *mirror, h plumbing.Hash, rev Revision) error {
	k := kept{commit: h, root: h}
	if plumbing.IsHash(rev.Tag) {
		k.root = plumbing.NewHash(rev.Tag)
	}
	lim := limits{pack: r.pool.o.MaxPackBytes, object: r.pool.o.MaxObjectBytes, heavy: r.pool.heavy}
	sink := func(pack io.Reader) error { return m.ingest(ctx, pack, lim) }
	err := c.fetch(ctx, fetchRequest{wants: []plumbing.Hash{k.root}, haves: m.haves(), depth: 1}, sink)
	if errors.Is(err, ErrNotFound) && rev.Tag == "" {
		// Some servers give no commit by hash, or only tips.
		err = r.search(ctx, c, m, rev, err, sink)
	}
	if err != nil {
		return err
	}
	if err := m.complete(h); err != nil {
		return err
	}
	return m.keep(k)
}

// search fetches the whole history of the ref, in the hope that the commit is
// in it. A search in vain is not made again before the ref has moved.
func (r *Repo) search(ctx context.Context, c *client, m *mirror, rev Revision, cause error, sink func(io.Reader) error) error {
	name := rev.Name
	if name == "" {
		name = "HEAD"
	}
	refs, err := c.listRefs(ctx, []string{name})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(refs, func(ref remoteRef) bool { return ref.Name == name })
	if i < 0 || refs[i].commit().String() == rev.Hash || m.inVain(rev.Hash, refs[i].Hash) {
		return cause
	}
	if err := c.fetch(ctx, fetchRequest{wants: []plumbing.Hash{refs[i].Hash}}, sink); err != nil {
		return err
	}
	s, err := m.store()
	if err != nil {
		return err
	}
	defer s.Close()
	if !s.has(plumbing.NewHash(rev.Hash)) {
		m.searchedInVain(rev.Hash, refs[i].Hash)
		return fmt.Errorf("%w; it is not in the history of %q either", cause, name)
	}
	return nil
}

// maxSearched bounds what is remembered of searches in vain.
const maxSearched = 256

func (m *mirror) inVain(commit string, tip plumbing.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.searched[commit] == tip
}

func (m *mirror) searchedInVain(commit string, tip plumbing.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.searched == nil || len(m.searched) >= maxSearched {
		m.searched = map[string]plumbing.Hash{}
	}
	m.searched[commit] = tip
}

// haves are the commits to tell the server about.
func (m *mirror) haves() (out []plumbing.Hash) {
	for _, k := range m.list() {
		if len(out) < maxHaves {
			out = append(out, k.commit)
		}
	}
	return out
}

// commit reads a commit that is here; ErrIncomplete if it is not. ctx bounds
// the wait for those who remove packs.
func (m *mirror) commit(ctx context.Context, h plumbing.Hash) (Commit, error) {
	if !m.has(h) {
		return Commit{}, ErrIncomplete
	}
	if err := m.readers.Acquire(ctx, 1); err != nil {
		return Commit{}, err
	}
	defer m.readers.Release(1)
	c, err := m.readCommit(h)
	if err != nil {
		m.distrust()
		return Commit{}, err
	}
	return exported(c), nil
}
