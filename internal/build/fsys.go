package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/weirhq/weir/internal/artifact"
)

// fact is one thing a build learned from its tree: where a path led, what was
// there and, when the content or listing was looked at, its hash.
type fact struct {
	path string
	real string // after links; path itself when absent, "" when it left the tree
	sum  [32]byte
	kind artifact.Kind
	used bool // content or listing was read, so sum counts
}

// readSet is everything a build learned. Two trees that agree on it give the
// same build.
type readSet []fact

// holds reports whether t still answers every question as recorded. It costs
// one look into t's index per fact and hashes nothing, however large t is.
func (rs readSet) holds(t *artifact.Tree) bool {
	for i := range rs {
		if look(t, rs[i].path, rs[i].used) != rs[i] {
			return false
		}
	}
	return true
}

func look(t *artifact.Tree, p string, used bool) fact {
	f := fact{path: p, used: used}
	info, err := t.Stat(p)
	if err != nil {
		return f
	}
	f.real, f.kind = info.Real, info.Kind
	if f.real == p {
		f.real = p // share the memory
	}
	if used {
		f.sum = info.Sum
	}
	return f
}

// Bounds on what one build reads. Overlays that name a base more than once read
// it as often, and so multiply; this is what ends it.
const (
	maxReads = 200_000
	maxRead  = 256 << 20 // bytes
)

// recorder is the file system handed to kustomize: read only, rooted in one
// tree, noting each question. Before content is handed out check may refuse it.
// The first refusal is kept, because kustomize treats a failed read as "no such
// file" in places and would report, or even do, something else.
type recorder struct {
	ctx   context.Context
	base  *artifact.Tree // what the facts are about
	tree  *artifact.Tree // base, with the kustomization file of this build over it
	check func(p string, data []byte) error

	mu     sync.Mutex
	facts  map[string]int // index into order
	order  []fact
	err    error // the first refusal
	broken error // the tree could not be read; nothing follows for the source
	reads  int
	bytes  int64
	found  int // objects in the manifests read
	way    way
	turn   *turn // nil in a test
	spec   key   // of the build
	memo   *memo // of parts of large builds; nil keeps none

	remotes *remotes  // what was fetched for this build; nil: nothing is
	far     []farFact // what of it was used
	mounts  []string  // where it is in tree

	decryption *Decryption     // nil: nothing is decrypted
	sealed     map[string]bool // files that may be encrypted, without links
}

var _ filesys.FileSystem = (*recorder)(nil)

func newRecorder(ctx context.Context, t *artifact.Tree, check func(string, []byte) error) *recorder {
	return &recorder{ctx: ctx, base: t, tree: t, check: check, facts: map[string]int{}, sealed: map[string]bool{}}
}

// overlay puts a file over the tree for the rest of the build. The facts stay
// about the tree below: what is laid over follows from them and the spec.
func (r *recorder) overlay(p string, data []byte) {
	r.tree = r.base.With(map[string][]byte{p: data})
}

func (r *recorder) readSet() readSet { return slices.Clip(r.order) }

// ask notes the question and answers it. The info of a path that is absent has
// kind artifact.Absent.
func (r *recorder) ask(p string, used bool) (artifact.Info, error) {
	p = path.Join("/", p) // the root is its own parent, as on any system
	r.mu.Lock()
	i, known := r.facts[p]
	switch {
	case r.mounted(p) != "": // no fact about the tree below
	case !known:
		r.facts[p] = len(r.order)
		r.order = append(r.order, look(r.base, p, used))
	case used && !r.order[i].used:
		r.order[i] = look(r.base, p, true)
	}
	r.mu.Unlock()
	info, err := r.tree.Stat(p)
	if err != nil {
		return info, r.refuse(err)
	}
	return info, nil
}

func (r *recorder) refuse(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	return err
}

// spend counts a read of n bytes against the bounds and the context.
func (r *recorder) spend(n int64) error {
	if err := r.ctx.Err(); err != nil {
		return r.refuse(err)
	}
	r.mu.Lock()
	r.reads++
	r.bytes += n
	over := r.reads > maxReads || r.bytes > maxRead
	r.mu.Unlock()
	if over {
		return r.refuse(fmt.Errorf("%w: it reads more than %d files or %d MiB; look for a base that is named many times", ErrTooLarge, maxReads, maxRead>>20))
	}
	return nil
}

// ReadFile implements filesys.FileSystem. What it returns belongs to the caller.
func (r *recorder) ReadFile(p string) ([]byte, error) {
	data, err := r.read(p, r.check)
	if err != nil || r.remotes == nil {
		return data, err
	}
	return r.bringNear(p, data)
}

func (r *recorder) read(p string, check func(string, []byte) error) ([]byte, error) {
	info, err := r.ask(p, true)
	switch {
	case err != nil:
		return nil, err
	case info.Kind == artifact.Absent:
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	case info.Kind != artifact.File:
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("is a directory")}
	}
	if err := r.spend(info.Size); err != nil {
		return nil, err
	}
	data, err := r.tree.ReadFile(info.Real)
	if err != nil {
		r.mu.Lock()
		r.broken = err
		r.mu.Unlock()
		return nil, r.refuse(err)
	}
	if err := check(r.inside(info.Real), data); err != nil {
		return nil, r.refuse(fmt.Errorf("%q: %w", relative(info.Real), err))
	}
	if r.decryption != nil {
		if data, err = r.decrypt(info.Real, data); err != nil {
			return nil, r.refuse(fmt.Errorf("%q: %w", relative(info.Real), err))
		}
	}
	if err := r.count(info.Real, data); err != nil {
		return nil, err
	}
	return data, nil
}

// count keeps the objects of a build within the limit before kustomize has to
// work on them, and ends a whole build that is worth a try in parts.
func (r *recorder) count(p string, data []byte) error {
	if ext := path.Ext(p); ext != ".yaml" && ext != ".yml" && ext != ".json" {
		return nil
	}
	n := countObjects(data)
	r.mu.Lock()
	r.found += n
	found, limit := r.found, r.way.limit()
	r.mu.Unlock()
	switch {
	case found > limit && r.way.whole && r.way.alone:
		return r.refuse(fmt.Errorf("%w: its manifests hold more than %d objects and bring their own OpenAPI document, so that nothing else can be built meanwhile; split it into several Kustomizations", ErrTooLarge, limit))
	case found > limit:
		return r.refuse(fmt.Errorf("%w: its manifests hold more than %d objects; split it into several Kustomizations", ErrTooLarge, limit))
	case found > splitObjects && !r.way.parts && !r.way.whole:
		return r.refuse(errLarge)
	}
	return nil
}

// relative is how paths are shown to people: from the root of the artifact.
func relative(p string) string {
	if p == "/" {
		return "."
	}
	return p[1:]
}

// ReadDir implements filesys.FileSystem.
func (r *recorder) ReadDir(p string) ([]string, error) {
	info, err := r.ask(p, true)
	switch {
	case err != nil:
		return nil, err
	case info.Kind != artifact.Dir:
		return nil, &fs.PathError{Op: "readdir", Path: p, Err: errors.New("not a directory")}
	}
	if err := r.spend(0); err != nil {
		return nil, err
	}
	return slices.Clone(info.Names), nil
}

// CleanedAbs implements filesys.FileSystem.
func (r *recorder) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	info, err := r.ask(p, false)
	switch {
	case err != nil:
		return "", "", err
	case info.Kind == artifact.Absent:
		return "", "", &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	case info.Kind == artifact.Dir:
		return filesys.ConfirmedDir(info.Real), "", nil
	}
	return filesys.ConfirmedDir(path.Dir(info.Real)), path.Base(info.Real), nil
}

func (r *recorder) kind(p string) artifact.Kind {
	info, err := r.ask(p, false)
	if err != nil {
		return artifact.Absent
	}
	return info.Kind
}

// IsDir implements filesys.FileSystem.
func (r *recorder) IsDir(p string) bool { return r.kind(p) == artifact.Dir }

// Exists implements filesys.FileSystem.
func (r *recorder) Exists(p string) bool { return r.kind(p) != artifact.Absent }

// The rest of the interface writes, or looks at more than it names. A build
// needs none of it; a refusal shows up as the build's error.
func (r *recorder) no(op, p string) error {
	return r.refuse(fmt.Errorf("%s %s: %w", op, p, errors.ErrUnsupported))
}

// Create implements filesys.FileSystem by refusing.
func (r *recorder) Create(p string) (filesys.File, error) { return nil, r.no("create", p) }

// Mkdir implements filesys.FileSystem by refusing.
func (r *recorder) Mkdir(p string) error { return r.no("mkdir", p) }

// MkdirAll implements filesys.FileSystem by refusing.
func (r *recorder) MkdirAll(p string) error { return r.no("mkdir", p) }

// RemoveAll implements filesys.FileSystem by refusing.
func (r *recorder) RemoveAll(p string) error { return r.no("remove", p) }

// Open implements filesys.FileSystem by refusing.
func (r *recorder) Open(p string) (filesys.File, error) { return nil, r.no("open", p) }

// Glob implements filesys.FileSystem by refusing.
func (r *recorder) Glob(p string) ([]string, error) { return nil, r.no("glob", p) }

// WriteFile implements filesys.FileSystem by refusing.
func (r *recorder) WriteFile(p string, _ []byte) error { return r.no("write", p) }

// Walk implements filesys.FileSystem by refusing.
func (r *recorder) Walk(p string, _ filepath.WalkFunc) error { return r.no("walk", p) }
