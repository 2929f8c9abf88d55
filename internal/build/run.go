package build

import (
	"errors"
	"fmt"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// run makes one build. A refusal of the file system counts even where kustomize
// went on after it. It needs the turn of its recorder only while kustomize works.
func run(r *recorder, s Spec) (objects []Object, err error) {
	t, err := prepare(r, s)
	if err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	f, err := newFinisher(&s)
	if err != nil {
		return nil, err
	}
	pieces, err := r.pieces(t, f)
	switch {
	case r.err != nil:
		return nil, r.err
	case err != nil:
		return nil, err
	}
	return collect(pieces)
}

// pieces returns what a build comes to: whole or in parts, as its way is.
// errLarge and errWhole say that it has to be another one.
func (r *recorder) pieces(t target, f *finisher) ([]piece, error) {
	defer r.turn.leave()
	if r.way.parts {
		return r.inParts(t.dir, f)
	}
	m, err := krun(r, t.dir)
	r.turn.leave()
	if err != nil {
		return nil, explain(r, t, err)
	}
	return f.all(r.ctx, m.Resources())
}

// krun runs kustomize on dir as the peers do: files may be loaded from anywhere
// in the tree, there are no plugins but the built-in ones, and objects come in
// the order of the kustomization files unless those sort. kustomize panics on
// some input that it does not expect; that is an error of the source.
func krun(r *recorder, dir string) (m resmap.ResMap, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("kustomize cannot work with this source: %v", p)
		}
	}()
	k := krusty.MakeKustomizer(&krusty.Options{
		Reorder:          krusty.ReorderOptionNone,
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	})
	m, err = k.Run(filesys.FileSystem(r), dir)
	if err == nil && m == nil {
		err = errors.New("kustomize returned nothing")
	}
	return m, err
}
