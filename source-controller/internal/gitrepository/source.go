package gitrepository

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/gitrepo"
)

// source returns what the artifact is packed from: the trees of the parts, narrowed to
// spec.sparseCheckout, with the includes in their places. done is to be called
// when it is packed.
func (r *Reconciler) source(ctx context.Context, repo *sourcev1.GitRepository, views []*gitrepo.View, parts []part, included []include) (_ artifact.Source, done func(), err error) {
	var src artifact.Source = newCommitSource(views, parts)
	if len(repo.Spec.SparseCheckout) > 0 {
		if src, err = narrowed(src, repo.Spec.SparseCheckout); err != nil {
			return nil, nil, err
		}
	}
	if len(included) == 0 {
		return src, func() {}, nil
	}
	m := &merged{base: src}
	for _, n := range included {
		t, err := r.openInclude(ctx, n)
		if err != nil {
			m.close()
			return nil, nil, err
		}
		if err := m.mount(n, t); err != nil {
			m.close()
			return nil, nil, err
		}
	}
	return m, m.close, nil
}

// commitSource is the tree of a commit with those of some submodules in it. Links and
// other submodules are left out.
type commitSource struct {
	id    string
	views map[string]*gitrepo.View // by where they go; "." is the root
}

const gitID = "git:" // before the hash of an object

func newCommitSource(views []*gitrepo.View, parts []part) *commitSource {
	s := &commitSource{id: gitID + parts[0].commit.Tree, views: map[string]*gitrepo.View{}}
	h := sha256.New()
	for i, p := range parts {
		s.views[p.at] = views[i]
		fmt.Fprintf(h, "%q %s\n", p.at, p.commit.Tree)
	}
	if len(parts) > 1 {
		s.id = "submodules:" + hex.EncodeToString(h.Sum(nil))
	}
	return s
}

// ID implements artifact.Source.
func (s *commitSource) ID() string { return s.id }

// view returns the view in which the path p lies, and its path there.
func (s *commitSource) view(p string) (*gitrepo.View, string) {
	p = path.Clean(p)
	for at := p; at != "."; at = path.Dir(at) {
		if v := s.views[at]; v != nil {
			return v, strings.TrimPrefix(strings.TrimPrefix(p, at), "/")
		}
	}
	return s.views["."], strings.TrimPrefix(p, ".")
}

// ReadDir implements artifact.Source.
func (s *commitSource) ReadDir(folder string) ([]artifact.Entry, error) {
	view, inside := s.view(folder)
	entries, err := view.ReadDir(inside)
	if err != nil {
		return nil, err
	}
	out := make([]artifact.Entry, 0, len(entries))
	for _, e := range entries {
		switch {
		case e.Symlink:
		case !e.Submodule:
			out = append(out, artifact.Entry{Name: e.Name, Dir: e.Dir, Executable: e.Executable, ID: gitID + e.Hash})
		case s.views[path.Join(folder, e.Name)] != nil:
			out = append(out, artifact.Entry{Name: e.Name, Dir: true})
		}
	}
	return out, nil
}

// Open implements artifact.Source.
func (s *commitSource) Open(p string, e artifact.Entry) (io.ReadCloser, int64, error) {
	view, _ := s.view(p)
	return view.Open(gitrepo.Entry{Name: p, Executable: e.Executable, Hash: strings.TrimPrefix(e.ID, gitID)})
}

// sparse shows only some folders of a source.
type sparse struct {
	artifact.Source
	folders []string // clean
}

// narrowed returns src with nothing but the given folders, all of which must be there.
func narrowed(src artifact.Source, folders []string) (artifact.Source, error) {
	s := &sparse{Source: src}
	for _, f := range folders {
		c := cleanFolder(f)
		if !local(c) {
			return nil, fmt.Errorf("spec.sparseCheckout: %q leads out of the repository", f)
		}
		if e, err := find(src, c); err != nil {
			return nil, err
		} else if e == nil || !e.Dir {
			return nil, fmt.Errorf("spec.sparseCheckout: there is no folder %q in the repository", f)
		}
		s.folders = append(s.folders, c)
	}
	return s, nil
}

// cleanFolder is a folder of spec.sparseCheckout as a clean path.
func cleanFolder(f string) string { return path.Clean(strings.TrimPrefix(f, "/")) }

// ID implements artifact.Source.
func (s *sparse) ID() string { return fmt.Sprintf("%s sparse %q", s.Source.ID(), s.folders) }

// ReadDir implements artifact.Source.
func (s *sparse) ReadDir(folder string) ([]artifact.Entry, error) {
	entries, err := s.Source.ReadDir(folder)
	return slices.DeleteFunc(entries, func(e artifact.Entry) bool {
		p := path.Join(folder, e.Name)
		return !slices.ContainsFunc(s.folders, func(f string) bool { return within(p, f) || e.Dir && within(f, p) })
	}), err
}

// find returns the entry at the clean path p of src, or nil.
func find(src artifact.Source, p string) (*artifact.Entry, error) {
	if p == "." {
		return &artifact.Entry{Dir: true}, nil
	}
	folder := ""
	for step := range strings.SplitSeq(p, "/") {
		entries, err := src.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(entries, func(e artifact.Entry) bool { return e.Name == step })
		if i < 0 {
			return nil, nil
		}
		if folder = path.Join(folder, step); folder == p {
			return &entries[i], nil
		}
		if !entries[i].Dir {
			return nil, nil
		}
	}
	return nil, nil
}

// merged is a source with parts of other artifacts in it.
type merged struct {
	base   artifact.Source
	mounts []mount
}

type mount struct {
	include
	tree  *artifact.Tree
	whole artifact.Source // the tree from its root
	real  string          // where from leads to, relative to the root; "" is the root
	entry artifact.Entry
}

// mount puts what n names into the source, and takes over t.
func (m *merged) mount(n include, t *artifact.Tree) error {
	mt := mount{include: n, tree: t}
	m.mounts = append(m.mounts, mt)
	info, err := t.Stat(n.from)
	if err != nil || info.Kind == artifact.Absent {
		return fmt.Errorf("%w GitRepository %q: its artifact has no %q", errCopy, n.name, n.from)
	}
	for p := n.to; p != "."; p = path.Dir(p) {
		e, err := find(m.base, p)
		if err != nil {
			return err
		}
		if e != nil && (p == n.to || !e.Dir) {
			return fmt.Errorf("%w GitRepository %q: there is a %q in this repository already: choose another toPath", errCopy, n.name, p)
		}
	}
	if mt.whole, err = t.Source(""); err != nil {
		return err
	}
	mt.real = strings.TrimPrefix(info.Real, "/")
	mt.entry = artifact.Entry{Name: path.Base(n.to), Dir: info.Kind == artifact.Dir, Executable: info.Executable}
	if !mt.entry.Dir {
		mt.entry.ID = "sha256:" + hex.EncodeToString(info.Sum[:])
	}
	m.mounts[len(m.mounts)-1] = mt
	return nil
}

func (m *merged) close() {
	for _, mt := range m.mounts {
		mt.tree.Close()
	}
}

// ID implements artifact.Source.
func (m *merged) ID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", m.base.ID())
	for _, mt := range m.mounts {
		fmt.Fprintf(h, "%q %q %q\n", mt.artifact.Digest, mt.from, mt.to)
	}
	return "merged:" + hex.EncodeToString(h.Sum(nil))
}

// ReadDir implements artifact.Source.
func (m *merged) ReadDir(folder string) ([]artifact.Entry, error) {
	at := path.Clean(folder)
	if mt := m.over(at); mt != nil {
		return mt.whole.ReadDir(mt.inside(at))
	}
	var out []artifact.Entry
	e, err := find(m.base, at)
	if err != nil {
		return nil, err
	}
	if e != nil {
		if out, err = m.base.ReadDir(folder); err != nil {
			return nil, err
		}
	}
	for _, mt := range m.mounts {
		if path.Dir(mt.to) == at {
			out = append(out, mt.entry)
			continue
		}
		if !within(mt.to, at) {
			continue
		}
		rest := mt.to
		if at != "." {
			rest = strings.TrimPrefix(rest, at+"/")
		}
		name, _, _ := strings.Cut(rest, "/")
		if !slices.ContainsFunc(out, func(e artifact.Entry) bool { return e.Name == name }) {
			out = append(out, artifact.Entry{Name: name, Dir: true}) // on the way to the mount
		}
	}
	return out, nil
}

// Open implements artifact.Source.
func (m *merged) Open(p string, e artifact.Entry) (io.ReadCloser, int64, error) {
	if mt := m.over(p); mt != nil {
		return mt.whole.Open(mt.inside(p), e)
	}
	return m.base.Open(p, e)
}

// over returns the mount that p lies in.
func (m *merged) over(p string) *mount {
	for i := range m.mounts {
		if within(p, m.mounts[i].to) {
			return &m.mounts[i]
		}
	}
	return nil
}

// inside returns where p lies in the tree of the mount.
func (mt *mount) inside(p string) string {
	return strings.TrimPrefix(path.Join(mt.real, strings.TrimPrefix(p, mt.to)), "/")
}
