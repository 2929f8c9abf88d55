package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// Entry is one name in a directory.
type Entry struct {
	Name       string
	Dir        bool
	Executable bool
	Symlink    bool // the content is the target
	Submodule  bool // the content is elsewhere: Hash is a commit of another repository
	Hash       string
}

// View reads the files of one commit. Its methods may be called at the same
// time, until the function that was given the View returns.
type View struct {
	ctx  context.Context
	root plumbing.Hash
	max  int64

	commit plumbing.Hash

	s *store

	mu    sync.Mutex
	trees map[string][]treeEntry
}

// View calls fn with the files of a commit that Fetch or Commit has returned.
// While fn runs, fetches go on and nothing it reads is removed; fn must not
// call View, Fetch or Commit of the same repository itself. Errors: those of fn,
// and ErrIncomplete, after which Fetch gets the commit anew.
func (r *Repo) View(ctx context.Context, hash string, fn func(*View) error) error {
	return Views(ctx, []Wanted{{r, hash}}, func(v []*View) error { return fn(v[0]) })
}

// distrust makes the next writer throw the content away.
func (m *mirror) distrust() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept, m.broken = nil, true
}

// ReadDir lists a directory by its slash path, "" for the root, sorted by name.
func (v *View) ReadDir(path string) ([]Entry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	entries, err := v.dir(path)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(entries))
	for _, e := range entries {
		out = append(out, entry(e))
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func entry(e treeEntry) Entry {
	return Entry{
		Name: e.name, Hash: e.hash.String(),
		Dir:        e.mode == filemode.Dir,
		Executable: e.mode == filemode.Executable,
		Symlink:    e.mode == filemode.Symlink,
		Submodule:  e.mode == filemode.Submodule,
	}
}

// Stat finds one entry by its slash path. No symlink is followed.
func (v *View) Stat(path string) (Entry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stat(path)
}

func (v *View) stat(path string) (Entry, error) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	entries, err := v.dir(dir)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if e.name == name {
			return entry(e), nil
		}
	}
	return Entry{}, fmt.Errorf("file %q %w", path, ErrNotFound)
}

func (v *View) dir(path string) ([]treeEntry, error) {
	if err := v.ctx.Err(); err != nil {
		return nil, err
	}
	path = strings.Trim(path, "/")
	if t, ok := v.trees[path]; ok {
		return t, nil
	}
	h := v.root
	if path != "" {
		if strings.Count(path, "/") > maxDepth {
			return nil, fmt.Errorf("directory %q %w", path, ErrNotFound)
		}
		e, err := v.stat(path)
		if err != nil || !e.Dir {
			return nil, errors.Join(err, fmt.Errorf("directory %q %w", path, ErrNotFound))
		}
		h = plumbing.NewHash(e.Hash)
	}
	t, err := readTree(v.s, h)
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", path, err)
	}
	v.trees[path] = t
	return t, nil
}

// ReadFile reads a file of max bytes at most. A symlink is an error, as is
// everything else that is no file.
func (v *View) ReadFile(path string, max int64) ([]byte, error) {
	e, err := v.Stat(path)
	if err != nil {
		return nil, err
	}
	if e.Dir || e.Symlink || e.Submodule {
		return nil, fmt.Errorf("%q is no file: %w", path, ErrNotFound)
	}
	data, err := v.s.read(plumbing.BlobObject, plumbing.NewHash(e.Hash), max)
	if err != nil {
		return nil, fmt.Errorf("file %q: %w", path, err)
	}
	return data, nil
}

// Open opens the content of a file, or the target of a symlink, and tells its
// size. The caller closes it before the View ends.
func (v *View) Open(e Entry) (io.ReadCloser, int64, error) {
	if err := v.ctx.Err(); err != nil {
		return nil, 0, err
	}
	if e.Dir || e.Submodule {
		return nil, 0, fmt.Errorf("%q is no file: %w", e.Name, ErrNotFound)
	}
	o, err := v.s.open(plumbing.NewHash(e.Hash))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: file %q: %w", ErrIncomplete, e.Name, err)
	}
	switch {
	case o.kind != plumbing.BlobObject:
		err = fmt.Errorf("%w: file %q is a %s", ErrIncomplete, e.Name, o.kind)
	case o.size > v.max:
		err = fmt.Errorf("%w: file %q has %d bytes, the limit is %d", ErrTooLarge, e.Name, o.size, v.max)
	default:
		return o, o.size, nil
	}
	return nil, 0, errors.Join(err, o.Close())
}
