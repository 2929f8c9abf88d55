package gitrepo

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Signature is who did something, and when.
type Signature struct {
	Name, Email string
	When        time.Time
}

// Commit is what a commit says.
type Commit struct {
	Hash, Tree        string
	Author, Committer Signature
	Message           string
}

// maxCommit bounds a commit or tag object, in bytes.
const maxCommit = 4 << 20

func readCommit(s *store, h plumbing.Hash) (*object.Commit, error) {
	raw, err := s.read(plumbing.CommitObject, h, maxCommit)
	if err != nil {
		return nil, err
	}
	o := &plumbing.MemoryObject{}
	o.SetType(plumbing.CommitObject)
	if _, err := o.Write(raw); err != nil {
		return nil, err
	}
	c := &object.Commit{}
	if err := c.Decode(o); err != nil {
		return nil, fmt.Errorf("%w: commit %s: %w", ErrBadTree, h, err)
	}
	return c, nil
}

// readCommit is readCommit with a store of its own.
func (m *mirror) readCommit(h plumbing.Hash) (*object.Commit, error) {
	s, err := m.store()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return readCommit(s, h)
}

func exported(c *object.Commit) Commit {
	return Commit{
		Hash: c.Hash.String(), Tree: c.TreeHash.String(), Message: c.Message,
		Author:    Signature{c.Author.Name, c.Author.Email, c.Author.When},
		Committer: Signature{c.Committer.Name, c.Committer.Email, c.Committer.When},
	}
}

// complete checks that every object of a commit is here. What it shares with
// one of the kept commits, which were checked in their time, is skipped: the
// cost follows the change.
func (m *mirror) complete(h plumbing.Hash) error {
	s, err := m.store()
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := readCommit(s, h)
	if err != nil {
		return err
	}
	var before plumbing.Hash
	for _, k := range m.list() {
		if o, err := readCommit(s, k.commit); err == nil {
			before = o.TreeHash
			break
		}
	}
	w := &walker{s: s, done: map[plumbing.Hash]bool{}}
	return w.complete(c.TreeHash, before, 0)
}

// maxDepth bounds the nesting of directories.
const maxDepth = 200

// walker visits the objects of trees, each once.
type walker struct {
	s    *store
	done map[plumbing.Hash]bool
}

// read returns the entries of tree now, and what the names in tree before stood for,
// which may be none.
func (w *walker) read(now, before plumbing.Hash) ([]treeEntry, map[string]plumbing.Hash, error) {
	entries, err := readTree(w.s, now)
	if err != nil {
		return nil, nil, err
	}
	known := map[string]plumbing.Hash{}
	if !before.IsZero() {
		old, _ := readTree(w.s, before) // not a tree: nothing is known
		for _, e := range old {
			known[e.name] = e.hash
		}
	}
	return entries, known, nil
}

// complete visits what tree now has and tree before has not.
func (w *walker) complete(now, before plumbing.Hash, depth int) error {
	if now == before || w.done[now] {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: directories are nested more than %d deep", ErrBadTree, maxDepth)
	}
	w.done[now] = true
	entries, known, err := w.read(now, before)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.mode == filemode.Submodule || known[e.name] == e.hash || w.done[e.hash]:
		case e.mode == filemode.Dir:
			if err := w.complete(e.hash, known[e.name], depth+1); err != nil {
				return err
			}
		default:
			if !w.s.has(e.hash) {
				return fmt.Errorf("%w: file %q (%s)", ErrIncomplete, e.name, e.hash)
			}
			w.done[e.hash] = true
		}
	}
	return nil
}

// encodeTree writes a tree object.
func encodeTree(entries []treeEntry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%o %s\x00", uint32(e.mode), e.name)
		b.Write(e.hash[:])
	}
	return b.Bytes()
}
