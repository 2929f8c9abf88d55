package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// Kind says what a path turned out to be.
type Kind uint8

// The kinds of a path inside a Tree.
const (
	Absent Kind = iota
	File
	Dir
	link // never leaves this package: links are followed
)

// String returns "absent", "file" or "directory".
func (k Kind) String() string {
	return [...]string{"absent", "file", "directory", "link"}[k]
}

// Info is what a Tree knows about a path.
type Info struct {
	Real       string   // absolute path after following links
	Kind       Kind     // Absent is an answer, not an error
	Executable bool     // of a file
	Size       int64    // bytes of a file
	Sum        [32]byte // SHA-256 of a file's content, or of a directory's listing
	Names      []string // sorted entries of a directory; not to be changed
}

// ErrEscape says that a path, or a link on its way, leaves the tree or never ends.
var ErrEscape = errors.New("path leaves the source tree")

// Bounds of following links in one path, and of what one link may say.
const (
	maxHops = 40
	maxLink = 1024 // bytes of a link target
)

// Tree is an immutable snapshot of one artifact. Only an index is in memory,
// about 150 bytes a file; the bytes of files stay in the fetcher's cache on disk.
// Every file was hashed once, when the tree was made, so later questions about
// it cost a walk through the index.
//
// Paths are slash separated and case-exact; "/" is the artifact's root and there
// is nothing above it. Symbolic links are resolved inside the tree only: an
// absolute target, one that climbs above the root and a loop are ErrEscape.
// A Tree is safe for concurrent use.
type Tree struct {
	root *node // of a dir
	hold *hold // of the content on disk; nil for a tree in memory
}

// dir is a directory of the index: sorted names and, beside them, what they are.
type dir struct {
	names []string
	nodes []node
	sum   [32]byte
}

// node is one entry of a directory.
type node struct {
	kind       Kind
	executable bool
	sum        [32]byte
	off, size  int64 // of a file in the content on disk
	more       any   // *dir, string (target of a link), []byte (content in memory) or nil (content on disk)
}

// NewTree returns a tree in memory made of file contents and link targets, both
// by path. A file wins over a link of the same path.
func NewTree(files map[string][]byte, links map[string]string) *Tree {
	b := newIndex()
	for p, target := range links {
		_ = b.put(clean(p), node{kind: link, more: target}, true) // nothing but the root cannot be replaced
	}
	for p, data := range files {
		_ = b.put(clean(p), memory(data), true)
	}
	return &Tree{root: rooted(b.finish())}
}

func rooted(d *dir) *node { return &node{kind: Dir, more: d} }

func memory(data []byte) node {
	return node{kind: File, sum: sha256.Sum256(data), size: int64(len(data)), more: data}
}

// With returns a tree that differs from t in the given files; nil content removes
// a file. Directories appear with their files. Keys are paths without links in
// them (Info.Real): a file or link in the place of a parent is replaced by a
// directory. Only the directories on the way are copied, so the cost does not
// depend on the size of t. The layer shares t's hold on the content: closing
// either closes both.
func (t *Tree) With(files map[string][]byte) *Tree {
	root := t.root.more.(*dir)
	paths := make([]string, 0, len(files))
	for p := range files {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		if steps := split(clean(p)); len(steps) > 0 {
			root = root.with(steps, content(files[p]))
		}
	}
	return &Tree{root: rooted(root), hold: t.hold}
}

// Mount returns a tree that has another tree, which must be one in memory, at a
// path. What t has there is not seen any more. Links of either lead where they
// would if all was one tree.
func (t *Tree) Mount(at string, other *Tree) (*Tree, error) {
	steps := split(clean(at))
	if len(steps) == 0 || other.hold != nil {
		return nil, errors.New("only a tree in memory can be mounted, below the root")
	}
	return &Tree{root: rooted(t.root.more.(*dir).with(steps, other.root)), hold: t.hold}, nil
}

func content(data []byte) *node {
	if data == nil {
		return nil
	}
	n := memory(data)
	return &n
}

// with returns a copy of d in which there is new at steps; nil removes what is
// there.
func (d *dir) with(steps []string, new *node) *dir {
	c := &dir{names: d.names, nodes: slices.Clone(d.nodes)}
	i, found := slices.BinarySearch(d.names, steps[0])
	if new == nil && !found {
		return d
	}
	var n node
	switch {
	case len(steps) > 1:
		below := &dir{}
		if found && d.nodes[i].kind == Dir {
			below = d.nodes[i].more.(*dir)
		} else if new == nil {
			return d // nothing of that name to remove
		}
		n = node{kind: Dir, more: below.with(steps[1:], new)}
	case new == nil:
		c.names = slices.Delete(slices.Clone(d.names), i, i+1)
		c.nodes = slices.Delete(c.nodes, i, i+1)
		return c.seal()
	default:
		n = *new
	}
	if found {
		c.nodes[i] = n
	} else {
		c.names = slices.Insert(slices.Clone(d.names), i, strings.Clone(steps[0]))
		c.nodes = slices.Insert(c.nodes, i, n)
	}
	return c.seal()
}

// seal computes the sum of the listing: names with the kind of each.
func (d *dir) seal() *dir {
	h := sha256.New()
	for i, name := range d.names {
		h.Write([]byte(name))
		h.Write([]byte{0, byte(d.nodes[i].kind)})
	}
	h.Sum(d.sum[:0])
	return d
}

func (d *dir) get(name string) *node {
	if i, ok := slices.BinarySearch(d.names, name); ok {
		return &d.nodes[i]
	}
	return nil
}

// Stat follows p, links included, and says what is there. A path that is not
// there is an Info of kind Absent; the only error is ErrEscape.
func (t *Tree) Stat(p string) (Info, error) {
	real, n, err := t.resolve(p)
	if err != nil || n == nil {
		return Info{Real: real}, err
	}
	info := Info{Real: real, Kind: n.kind, Executable: n.executable, Size: n.size, Sum: n.sum}
	if d, ok := n.more.(*dir); ok {
		info.Names, info.Sum = d.names, d.sum
	}
	return info, nil
}

// ReadFile returns the content of the file at p, links followed. Its errors are
// ErrEscape, fs.ErrNotExist, fs.ErrClosed after Close, and those of the disk.
func (t *Tree) ReadFile(p string) ([]byte, error) {
	_, n, err := t.resolve(p)
	switch {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, fmt.Errorf("%q: %w", p, fs.ErrNotExist)
	case n.kind != File:
		return nil, fmt.Errorf("%q is a %s, not a file", p, n.kind)
	}
	if data, ok := n.more.([]byte); ok {
		return slices.Clone(data), nil
	}
	data := make([]byte, n.size)
	if err := t.hold.readAt(data, n.off); err != nil {
		return nil, fmt.Errorf("read %q from the artifact cache: %w", p, err)
	}
	return data, nil
}

// Digest returns the digest of the artifact that t was fetched as, or "".
func (t *Tree) Digest() string {
	if t.hold == nil {
		return ""
	}
	return t.hold.item.digest
}

// Close gives the content on disk back to the fetcher's cache. It may be called
// more than once; a tree in memory has nothing to give back.
func (t *Tree) Close() error {
	if t.hold != nil {
		t.hold.release()
	}
	return nil
}

// resolve follows p and returns the path where it ends and what is there, nil if
// nothing is. ".." is taken after links, as the kernel does.
func (t *Tree) resolve(p string) (string, *node, error) {
	if n, ok := t.direct(p); ok {
		return p, n, nil
	}
	at := walk{nodes: []*node{t.root}}
	rest, hops := strings.Split(p, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			if !at.up() {
				return p, nil, fmt.Errorf("%q: %w", p, ErrEscape)
			}
			continue
		}
		d, ok := at.last().more.(*dir)
		if !ok { // a file is no parent
			return at.path(append([]string{name}, rest...)...), nil, nil
		}
		n := d.get(name)
		if n == nil {
			return at.path(append([]string{name}, rest...)...), nil, nil
		}
		if n.kind != link {
			at.down(name, n)
			continue
		}
		target := n.more.(string)
		if hops++; hops > maxHops {
			return p, nil, fmt.Errorf("%q: %w: its links never end", p, ErrEscape)
		}
		if path.IsAbs(target) {
			return p, nil, fmt.Errorf("%q: %w: %q is a link to the absolute path %q", p, ErrEscape, at.path(name), target)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at.path(), at.last(), nil
}

// direct is resolve for a clean absolute path without links on its way, which is
// most of them. It allocates nothing.
func (t *Tree) direct(p string) (n *node, ok bool) {
	n = t.root
	if p == "/" {
		return n, true
	}
	for rest := p; rest != ""; {
		if rest[0] != '/' {
			return nil, false
		}
		name := rest[1:]
		if i := strings.IndexByte(name, '/'); i >= 0 {
			name = name[:i]
		}
		rest = rest[1+len(name):]
		if name == "" || name == "." || name == ".." {
			return nil, false
		}
		if n == nil {
			continue // what follows must be clean, too
		}
		if d, isDir := n.more.(*dir); isDir {
			n = d.get(name)
		} else {
			n = nil
		}
		if n != nil && n.kind == link {
			return nil, false
		}
	}
	return n, p != ""
}

// walk is where a resolution stands: the nodes from the root down.
type walk struct {
	names []string
	nodes []*node // one more than names: the root first
}

func (w *walk) last() *node { return w.nodes[len(w.nodes)-1] }

func (w *walk) down(name string, n *node) {
	w.names, w.nodes = append(w.names, name), append(w.nodes, n)
}

func (w *walk) up() bool {
	if len(w.names) == 0 {
		return false
	}
	w.names, w.nodes = w.names[:len(w.names)-1], w.nodes[:len(w.nodes)-1]
	return true
}

func (w *walk) path(more ...string) string {
	return path.Join(append(append([]string{"/"}, w.names...), more...)...)
}

// clean makes p absolute and lexically clean.
func clean(p string) string { return path.Clean("/" + p) }

// split returns the steps of a clean path; none for the root.
func split(p string) []string {
	if p == "/" {
		return nil
	}
	return strings.Split(p[1:], "/")
}
