package gitrepo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Edit is the new content of one file, by its slash path. A file that exists
// keeps its mode; a new one is a plain file.
type Edit struct {
	Path    string
	Content []byte
}

// CommitOptions say what a commit says.
type CommitOptions struct {
	Author, Committer Signature
	Message           string
	// Sign returns the armored signature of the payload; nil for none.
	Sign func(payload []byte) (string, error)
}

// Commit writes a commit on top of base, which Fetch or Commit has returned,
// into the mirror. Every other file stays as it is. Edits that change nothing
// make no commit: base is returned. Nothing leaves the machine before Push.
func (r *Repo) Commit(ctx context.Context, base string, edits []Edit, o CommitOptions) (string, error) {
	m, release, err := r.mirror(ctx)
	if err != nil {
		return "", r.fail(err)
	}
	defer release()
	if err := m.writer.Acquire(ctx, 1); err != nil {
		return "", r.fail(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	defer m.writer.Release(1)
	if err := m.ensure(ctx); err != nil {
		return "", r.fail(err)
	}
	hash, err := m.write(ctx, plumbing.NewHash(base), edits, o)
	if err != nil {
		return "", r.fail(fmt.Errorf("commit on %q: %w", base, err))
	}
	return hash.String(), nil
}

// write is Commit; the caller is the writer.
func (m *mirror) write(ctx context.Context, base plumbing.Hash, edits []Edit, o CommitOptions) (plumbing.Hash, error) {
	if !m.has(base) {
		return base, fmt.Errorf("%w: the base was not fetched", ErrIncomplete)
	}
	s, err := m.store()
	if err != nil {
		return base, err
	}
	defer s.Close()
	parent, err := readCommit(s, base)
	if err != nil {
		return base, err
	}
	b := &builder{s: s}
	root := &folder{}
	for _, e := range edits {
		if err := root.put(e.Path, e.Content); err != nil {
			return base, err
		}
	}
	tree, err := b.write(root, parent.TreeHash, "")
	if err != nil || tree == parent.TreeHash {
		return base, err
	}
	c, err := b.commit(tree, base, o)
	if err != nil {
		return base, err
	}
	if err := m.writePack(ctx, b.objects); err != nil {
		return base, err
	}
	return c, m.keep(kept{commit: c, root: c})
}

// folder holds the edits below one directory.
type folder struct {
	files   map[string][]byte
	folders map[string]*folder
}

func (f *folder) put(path string, content []byte) error {
	names := strings.Split(path, "/")
	for _, n := range names {
		if err := checkName(n); err != nil {
			return fmt.Errorf("edit of %q: %w", path, err)
		}
	}
	for _, n := range names[:len(names)-1] {
		if f.folders[n] == nil {
			if f.folders == nil {
				f.folders = map[string]*folder{}
			}
			f.folders[n] = &folder{}
		}
		f = f.folders[n]
	}
	if f.files == nil {
		f.files = map[string][]byte{}
	}
	f.files[names[len(names)-1]] = content
	return nil
}

// builder collects the objects of a commit.
type builder struct {
	s       *store
	objects []plumbing.EncodedObject
}

func (b *builder) add(t plumbing.ObjectType, content []byte) plumbing.Hash {
	o := &plumbing.MemoryObject{}
	o.SetType(t)
	_, _ = o.Write(content) // to memory
	h := o.Hash()
	if !b.s.has(h) && !slices.ContainsFunc(b.objects, func(x plumbing.EncodedObject) bool { return x.Hash() == h }) {
		b.objects = append(b.objects, o)
	}
	return h
}

// write makes the tree old with the edits of f; path is for errors.
func (b *builder) write(f *folder, old plumbing.Hash, path string) (plumbing.Hash, error) {
	var entries []treeEntry
	if !old.IsZero() {
		var err error
		if entries, err = readTree(b.s, old); err != nil {
			return old, err
		}
	}
	find := func(name string) (treeEntry, int) {
		i := slices.IndexFunc(entries, func(e treeEntry) bool { return e.name == name })
		if i < 0 {
			entries = append(entries, treeEntry{name: name})
			i = len(entries) - 1
		}
		return entries[i], i
	}
	for name, content := range f.files {
		e, i := find(name)
		switch e.mode {
		case filemode.Empty:
			e.mode = filemode.Regular
		case filemode.Regular, filemode.Executable, filemode.Deprecated:
		default:
			return old, fmt.Errorf("edit of %q: %w: it is no file", path+name, ErrNotFound)
		}
		e.hash = b.add(plumbing.BlobObject, content)
		entries[i] = e
	}
	for name, sub := range f.folders {
		e, i := find(name)
		if e.mode != filemode.Empty && e.mode != filemode.Dir {
			return old, fmt.Errorf("edit below %q: %w: it is no directory", path+name, ErrNotFound)
		}
		var err error
		if e.hash, err = b.write(sub, e.hash, path+name+"/"); err != nil {
			return old, err
		}
		e.mode = filemode.Dir
		entries[i] = e
	}
	slices.SortFunc(entries, func(x, y treeEntry) int { return strings.Compare(x.sortName(), y.sortName()) })
	return b.add(plumbing.TreeObject, encodeTree(entries)), nil
}

// sortName is how git orders a tree: a directory as if its name ended in "/".
func (e treeEntry) sortName() string {
	if e.mode == filemode.Dir {
		return e.name + "/"
	}
	return e.name
}

func (b *builder) commit(tree, parent plumbing.Hash, o CommitOptions) (plumbing.Hash, error) {
	c := &object.Commit{
		Author: signature(o.Author), Committer: signature(o.Committer), Message: o.Message,
		TreeHash: tree, ParentHashes: []plumbing.Hash{parent},
	}
	if o.Sign != nil {
		payload, err := encoded(c.EncodeWithoutSignature)
		if err != nil {
			return parent, err
		}
		if c.PGPSignature, err = o.Sign(payload); err != nil {
			return parent, fmt.Errorf("signing: %w", err)
		}
	}
	raw, err := encoded(c.Encode)
	if err != nil {
		return parent, err
	}
	return b.add(plumbing.CommitObject, raw), nil
}

func encoded(encode func(plumbing.EncodedObject) error) ([]byte, error) {
	o := &plumbing.MemoryObject{}
	if err := encode(o); err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// signature keeps what could break out of its line out of it.
func signature(s Signature) object.Signature {
	clean := func(t string) string {
		return strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < ' ' || r == '<' || r == '>' {
				return -1
			}
			return r
		}, t))
	}
	return object.Signature{Name: clean(s.Name), Email: clean(s.Email), When: s.When}
}
