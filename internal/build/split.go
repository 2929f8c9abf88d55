package build

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"

	"github.com/cespare/xxhash/v2"
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

// errLarge ends a build that turns out to be worth a try in parts, and errWhole
// one that cannot be made in parts.
var errLarge, errWhole = errors.New("build is large"), errors.New("build has no parts")

// parts is a build that consists of independent parts.
type parts struct {
	r      *recorder
	root   string
	size   int // objects in a part
	files  map[string]string
	kusts  map[string]types.Kustomization // by directory
	above  map[string]place               // of directories
	leaves []leaf                         // objects, in the order of the build
	decode *resource.Factory
	across *across // nil: no object depends on another
	extra  map[string][]byte
	finish *finisher
}

// place is where something is named: by which kustomization, and how.
type place struct{ dir, name string }

// leaf is one object. One that shares its file with others gets a file of its
// own.
type leaf struct {
	place
	path  string // where its part finds it
	kind  string
	data  []byte   // of path
	names []string // those it has one after another
	words []uint64 // what it may name others by
}

// split builds dir in parts, if it can tell that they do not touch each other,
// and returns what they come to in the order of a whole build. It answers false
// when it cannot tell; then nothing has been lost but time. A part whose files
// are as they were is not built again.
//
// Why it is exact: only fields are allowed that change objects one by one, or
// that reach from one object to others by name: prefixes and suffixes, which
// references follow, patches and numbers of replicas. A part is therefore built
// together with all objects whose name, at any level, occurs in it or in a
// kustomization, and what comes out of those is dropped. Beyond that, of the steps
// of kustomize that look across objects two can still have an effect. References
// that are maps get the namespace of what they name: the kinds that hold such
// references and the kinds they name all go to one part. And two objects of one
// identity are an error, which is looked for here. Any error, and any count, kind
// or name that is not as foreseen, leads back to a whole build, and so do the
// texts of errors.
func (r *recorder) split(dir string, size int, f *finisher) ([]piece, bool) {
	p := &parts{r: r, root: dir, size: size, finish: f, files: map[string]string{}, kusts: map[string]types.Kustomization{},
		above: map[string]place{}, extra: map[string][]byte{}, decode: provider.NewDefaultDepProvider().GetResourceFactory()}
	if !p.walk(dir) || r.err != nil {
		return nil, false
	}
	whole := r.tree
	defer func() { r.tree = whole }()
	batches, ok := p.divide()
	if !ok || !p.across.settle(p.leaves, batches) {
		return nil, false
	}
	out, ids := make([]piece, len(p.leaves)), map[string]bool{}
	for _, batch := range batches {
		if len(batch) > 0 && !p.build(batch, out, ids) {
			return nil, false
		}
	}
	return out, true
}

// build adds the pieces of one part, which are new ones or those from before.
func (p *parts) build(batch []int, out []piece, ids map[string]bool) bool {
	all := p.across.with(p.leaves, batch)
	own := map[int]bool{}
	for _, i := range batch {
		own[i] = true
	}
	files := p.only(all)
	k := partKey(p.r.spec, p.r.way, files, p.leaves, own, all)
	pieces := p.r.memo.get(k)
	if pieces == nil {
		var ok bool
		if pieces, ok = p.make(files, all, own); !ok {
			return false
		}
		if !slices.ContainsFunc(pieces, func(p piece) bool { return p.err != nil }) {
			p.r.memo.put(k, pieces)
		}
	}
	for at, i := range batch {
		if ids[pieces[at].ID] {
			return false
		}
		ids[pieces[at].ID], out[i] = true, pieces[at]
	}
	return true
}

// make builds the files of a part, and keeps the pieces of its own leaves.
func (p *parts) make(files map[string][]byte, all []int, own map[int]bool) (pieces []piece, ok bool) {
	r := p.r
	if r.turn.pass(r.ctx) != nil {
		return nil, false
	}
	r.tree, r.found = artifact.NewTree(files, nil), 0
	m, err := krun(r, p.root)
	if err != nil || r.err != nil || r.ctx.Err() != nil {
		return nil, false
	}
	built := m.Resources()
	if len(built) != len(all) {
		return nil, false
	}
	for at, i := range all {
		if !own[i] {
			continue
		}
		l := p.leaves[i]
		if built[at].GetKind() != l.kind || p.across != nil && !slices.Contains(l.names, built[at].GetName()) {
			return nil, false
		}
		done := p.finish.piece(r.ctx, built[at])
		done.ID = built[at].CurId().String()
		pieces = append(pieces, done)
	}
	return pieces, r.ctx.Err() == nil
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
	n := 0 // leaves in the last part
	for i, l := range p.leaves {
		if linked(l.kind) {
			batches[0] = append(batches[0], i)
			continue
		}
		if n == 0 {
			batches = append(batches, nil)
		}
		batches[len(batches)-1] = append(batches[len(batches)-1], i)
		if n++; p.ends(l, n) {
			n = 0
		}
	}
	return batches, true
}

// ends reports whether a leaf is the last one of a part that has n with it. That
// depends on the leaf, so that one more or less moves the border to the next part
// only, and not all that follow.
func (p *parts) ends(l leaf, n int) bool {
	half := max(1, p.size/2)
	return n >= 2*p.size || n >= half && xxhash.Sum64String(l.path)%uint64(half) == 0
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
	if !p.allows(dir, k) {
		return false
	}
	p.kusts[dir] = k
	first := len(p.leaves)
	for _, name := range k.Resources {
		at := path.Join(dir, name)
		info, err := p.r.ask(at, false)
		switch {
		case err != nil || info.Real != at:
			return false
		case info.Kind == artifact.Dir:
			if p.above[at] = (place{dir, name}); !p.walk(at) {
				return false
			}
		case info.Kind != artifact.File || !p.add(at, place{dir, name}):
			return false
		}
	}
	for i := range p.leaves[first:] {
		p.leaves[first+i].rename(k.NamePrefix, k.NameSuffix)
	}
	return true
}

// allows reports whether a kustomization only has fields that change objects one
// by one, or that reach others by name, and takes note of the latter.
func (p *parts) allows(dir string, k types.Kustomization) bool {
	rest := k
	rest.TypeMeta, rest.MetaData, rest.Resources = types.TypeMeta{}, nil, nil
	rest.Labels, rest.CommonLabels, rest.CommonAnnotations = nil, nil, nil
	rest.Images, rest.Namespace = nil, ""
	simple := reflect.DeepEqual(rest, types.Kustomization{})
	rest.NamePrefix, rest.NameSuffix, rest.Patches, rest.Replicas = "", "", nil, nil
	if dir == p.root { // what one directory below brings is for those after it as well
		rest.OpenAPI = nil
	}
	if k.Kind != types.KustomizationKind || !reflect.DeepEqual(rest, types.Kustomization{}) {
		return false
	}
	if at := k.OpenAPI["path"]; at != "" && !p.keep(dir, at) {
		return false
	}
	if simple {
		return true
	}
	if p.across == nil {
		p.across = &across{}
	}
	for _, patch := range k.Patches {
		if patch.Options != nil || patch.Path != "" && !p.keep(dir, patch.Path) {
			return false
		}
		if patch.Path != "" && !p.across.note(p.extra[path.Join(dir, patch.Path)]) {
			return false
		}
		if patch.Patch != "" && !p.across.note([]byte(patch.Patch)) {
			return false
		}
	}
	k.Resources, k.Patches = nil, nil
	text, err := json.Marshal(k)
	return err == nil && p.across.note(text)
}

// keep has all parts find a file.
func (p *parts) keep(dir, name string) bool {
	at := path.Join(dir, name)
	info, err := p.r.ask(at, true)
	if err != nil || info.Kind != artifact.File || info.Real != at {
		return false
	}
	data, err := p.r.ReadFile(at)
	p.extra[at] = data
	return err == nil
}

// add adds the objects of a manifest.
func (p *parts) add(at string, from place) bool {
	data, err := p.r.ReadFile(at)
	if err != nil {
		return false
	}
	objects, err := p.decode.SliceFromBytes(data)
	if err != nil || len(objects) == 0 {
		return false
	}
	for _, o := range objects {
		if kept, err := p.decode.DropLocalNodes([]*kyaml.RNode{&o.RNode}); err != nil || len(kept) == 0 {
			return false
		}
		l := leaf{place: from, path: at, kind: o.GetKind(), data: data, names: []string{o.GetName()}}
		l.words = words(nil, o.YNode())
		if len(objects) > 1 {
			if l.data, err = o.AsYAML(); err != nil {
				return false
			}
			l.path = fmt.Sprintf("%s#%x", at, sha256.Sum256(l.data)) // whatever is before it in the file
			l.name = path.Join(path.Dir(from.name), path.Base(l.path))
		}
		p.leaves = append(p.leaves, l)
	}
	return true
}

// only returns the files of the given leaves, which are in the order of the
// build, and of kustomizations that name just these.
func (p *parts) only(batch []int) map[string][]byte {
	files, names := maps.Clone(p.extra), map[string][]string{}
	for _, i := range batch {
		l := p.leaves[i]
		files[l.path] = l.data
		for at := l.place; ; at = p.above[at.dir] {
			known := len(names[at.dir]) > 0
			if names[at.dir] = append(names[at.dir], at.name); known || at.dir == p.root {
				break
			}
		}
	}
	for dir, resources := range names {
		k := p.kusts[dir]
		k.Resources = resources
		files[p.files[dir]], _ = json.Marshal(k) // the struct that kustomize decodes into
	}
	return files
}

// inParts returns the pieces of dir, built in parts. errWhole says that it has to
// be built whole.
func (r *recorder) inParts(dir string, f *finisher) ([]piece, error) {
	size := partObjects
	if r.way.alone {
		size *= 4 // each part parses the document
	}
	out, ok := r.split(dir, size, f)
	if ok || r.err != nil && !errors.Is(r.err, ErrTooLarge) {
		return out, r.err
	}
	r.err = nil // what is too large for parts is so for a whole build, which has the say
	return nil, errWhole
}
