package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/weirhq/weir/internal/artifact"
)

const (
	// splitObjects is from how many objects on a build in parts is tried.
	splitObjects = 400
	// partObjects is how many objects a part gets. kustomize compares all objects
	// with all others several times over; in parts of this size that costs less
	// than what each part costs in any case.
	partObjects = 48
)

// errLarge ends a build that turns out to be worth a try in parts.
var errLarge = errors.New("build is large")

// parts is a build that consists of independent parts.
type parts struct {
	r      *recorder
	size   int // objects in a part
	files  map[string]string
	kusts  map[string]types.Kustomization // by directory
	leaves []leaf                         // objects, in the order of the build
	decode *resource.Factory
}

// leaf is one object. One that shares its file with others gets a file of its
// own.
type leaf struct {
	file, path string // where it is, and where its part finds it
	kind       string
	data       []byte // of path
}

// split builds dir in parts, if it can tell that they do not touch each other,
// and returns the objects in the order of a whole build. It answers false when it
// cannot tell; then nothing has been lost but time.
//
// Why it is exact: only fields that change objects one by one are allowed, and
// none of them renames what a reference could name, so of the steps of kustomize
// that look across objects two can still have an effect. References that are
// maps get the namespace of what they name: the kinds that hold such references
// and the kinds they name all go to one part. And two objects of one identity
// are an error, which is looked for here. Any error, and any count or kind that
// is not as foreseen, leads back to a whole build, and so do the texts of errors.
func (r *recorder) split(dir string, size int) ([]*resource.Resource, bool) {
	p := &parts{r: r, size: size, files: map[string]string{}, kusts: map[string]types.Kustomization{},
		decode: provider.NewDefaultDepProvider().GetResourceFactory()}
	if !p.walk(dir) || r.err != nil {
		return nil, false
	}
	whole := r.tree
	defer func() { r.tree = whole }()
	batches, ok := p.divide()
	if !ok {
		return nil, false
	}
	out, ids := make([]*resource.Resource, len(p.leaves)), map[string]bool{}
	for _, batch := range batches {
		if len(batch) == 0 {
			continue
		}
		r.tree, r.found = p.only(dir, batch), 0
		m, err := krun(r, dir)
		if err != nil || r.err != nil || r.ctx.Err() != nil {
			return nil, false
		}
		built := m.Resources()
		if len(built) != len(batch) {
			return nil, false
		}
		for at, i := range batch {
			id := built[at].CurId().String()
			if built[at].GetKind() != p.leaves[i].kind || ids[id] {
				return nil, false
			}
			ids[id], out[i] = true, built[at]
		}
	}
	return out, true
}

// divide returns the leaves of each part. The first part is that of the kinds
// that may refer to each other by a map.
func (p *parts) divide() (batches [][]int, ok bool) {
	has := map[string]bool{}
	for _, l := range p.leaves {
		has[l.kind] = true
	}
	if has["Node"] { // it names ConfigMaps by maps
		return nil, false
	}
	bind := has["RoleBinding"] || has["ClusterRoleBinding"]
	hook := has["ValidatingWebhookConfiguration"] || has["MutatingWebhookConfiguration"]
	linked := func(kind string) bool {
		switch kind {
		case "RoleBinding", "ClusterRoleBinding", "ServiceAccount":
			return bind
		case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "Service":
			return hook
		}
		return false
	}
	batches = [][]int{nil}
	n := p.size
	for i, l := range p.leaves {
		switch {
		case linked(l.kind):
			batches[0] = append(batches[0], i)
			continue
		case n >= p.size:
			batches, n = append(batches, nil), 0
		}
		batches[len(batches)-1] = append(batches[len(batches)-1], i)
		n++
	}
	return batches, true
}

// walk adds the directory and what it names. False means: not a case for parts,
// or broken; the whole build will say which.
func (p *parts) walk(dir string) bool {
	info, err := p.r.ask(dir, false)
	if err != nil || info.Kind != artifact.Dir || info.Real != dir || p.files[dir] != "" {
		return false
	}
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if at := path.Join(dir, name); p.r.kind(at) == artifact.File {
			if p.files[dir] != "" {
				return false // two in one directory
			}
			p.files[dir] = at
		}
	}
	if p.files[dir] == "" {
		return false
	}
	data, err := p.r.ReadFile(p.files[dir])
	var k types.Kustomization
	if err != nil || k.Unmarshal(data) != nil {
		return false
	}
	k.FixKustomization()
	if !oneByOne(k) {
		return false
	}
	p.kusts[dir] = k
	for _, name := range k.Resources {
		at := path.Join(dir, name)
		info, err := p.r.ask(at, false)
		switch {
		case err != nil || info.Real != at:
			return false
		case info.Kind == artifact.Dir:
			if !p.walk(at) {
				return false
			}
		case info.Kind != artifact.File || !p.add(at):
			return false
		}
	}
	return true
}

// oneByOne reports whether a kustomization only has fields that change objects
// one by one and leave their names as they are.
func oneByOne(k types.Kustomization) bool {
	rest := k
	rest.TypeMeta, rest.MetaData, rest.Resources = types.TypeMeta{}, nil, nil
	rest.Labels, rest.CommonLabels, rest.CommonAnnotations = nil, nil, nil
	rest.Images, rest.Namespace = nil, ""
	return k.Kind == types.KustomizationKind && reflect.DeepEqual(rest, types.Kustomization{})
}

// add adds the objects of a manifest.
func (p *parts) add(at string) bool {
	data, err := p.r.ReadFile(at)
	if err != nil {
		return false
	}
	objects, err := p.decode.SliceFromBytes(data)
	if err != nil || len(objects) == 0 {
		return false
	}
	for i, o := range objects {
		if kept, err := p.decode.DropLocalNodes([]*kyaml.RNode{&o.RNode}); err != nil || len(kept) == 0 {
			return false
		}
		l := leaf{file: at, path: at, kind: o.GetKind(), data: data}
		if len(objects) > 1 {
			l.path = fmt.Sprintf("%s#%d", at, i)
			if l.data, err = o.AsYAML(); err != nil {
				return false
			}
		}
		p.leaves = append(p.leaves, l)
	}
	return true
}

// only is a tree of the given leaves and of kustomizations that name just these.
func (p *parts) only(dir string, batch []int) *artifact.Tree {
	keep, files := map[string][]string{}, map[string][]byte{}
	for _, i := range batch {
		l := p.leaves[i]
		keep[l.file] = append(keep[l.file], path.Base(l.path))
		files[l.path] = l.data
	}
	var trim func(dir string) bool
	trim = func(dir string) bool {
		k := p.kusts[dir]
		var names []string
		for _, name := range k.Resources {
			at := path.Join(dir, name)
			if _, folder := p.kusts[at]; !folder {
				for _, base := range keep[at] {
					names = append(names, path.Join(path.Dir(name), base))
				}
			} else if trim(at) {
				names = append(names, name)
			}
		}
		if k.Resources = names; len(names) == 0 {
			return false
		}
		files[p.files[dir]], _ = json.Marshal(k) // the struct that kustomize decodes into
		return true
	}
	trim(dir)
	return artifact.NewTree(files, nil)
}

// reset forgets a refusal that was a question of how to build.
func (r *recorder) reset(limit int) {
	if errors.Is(r.err, errLarge) {
		r.err = nil
	}
	r.found, r.limit, r.reads, r.bytes, r.tried = 0, limit, 0, 0, true
}

// resources returns what kustomize makes of dir: whole, or in parts if that is
// worth it and possible.
func (r *recorder) resources(dir string) ([]*resource.Resource, error) {
	m, err := krun(r, dir)
	if errors.Is(r.err, errLarge) {
		r.reset(maxObjects)
		if out, ok := r.split(dir, partObjects); ok || r.err != nil && !errors.Is(r.err, ErrTooLarge) {
			return out, r.err
		}
		r.err = nil // what is too large for parts is so for a whole build, which has the say
		r.reset(maxWhole)
		m, err = krun(r, dir)
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(m.Resources()), nil
}
