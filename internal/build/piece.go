package build

import (
	"context"
	"errors"
	"fmt"
	"unique"

	"github.com/cespare/xxhash/v2"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/resource"
)

// piece is what one resource of kustomize comes to: an object, or the items of a
// list. It holds for as long as the files and the spec that it is made of.
type piece struct {
	ID      string   // what kustomize knows the resource by; of parts only
	From    string   // what it was called in the source, for messages
	Objects []Object // none when it is configuration of kustomize
	err     error    // why it is no object
}

// finisher makes pieces: it decrypts, substitutes and normalizes. It needs nothing
// of kustomize that the gate guards.
type finisher struct {
	spec *Spec
	sub  *substituter
}

func newFinisher(s *Spec) (*finisher, error) {
	sub, err := newSubstituter(s.Substitute)
	return &finisher{spec: s, sub: sub}, err
}

// all makes a piece of each resource, until ctx ends or one is no object.
func (f *finisher) all(ctx context.Context, built []*resource.Resource) ([]piece, error) {
	out := make([]piece, 0, len(built))
	for _, res := range built {
		p := f.piece(ctx, res)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if out = append(out, p); p.err != nil {
			break // collect says so, after what is before it
		}
	}
	return out, nil
}

func (f *finisher) piece(ctx context.Context, res *resource.Resource) piece {
	p := piece{From: describe(res.GetKind(), res.GetNamespace(), res.GetName())}
	data, err := f.render(ctx, res)
	if err != nil {
		p.err = fmt.Errorf("%s: %w", p.From, err)
		return p
	}
	p.err = f.add(&p, data)
	return p
}

// render returns the JSON of res after decryption and substitution.
func (f *finisher) render(ctx context.Context, res *resource.Resource) ([]byte, error) {
	data, err := res.MarshalJSON()
	if err != nil {
		return nil, errors.New(tidy(withoutContent(err.Error())))
	}
	if data, err = decryptObject(ctx, res, data, f.spec.Decrypt); err != nil {
		return nil, err
	}
	if !f.sub.wants(data) {
		return data, nil
	}
	if res.GetLabels()[substituteKey] == disabled || res.GetAnnotations()[substituteKey] == disabled {
		return data, nil
	}
	return f.sub.object(data)
}

// add reads one object, or the items of a list.
func (f *finisher) add(p *piece, data []byte) error {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("%s: not a Kubernetes object: %w", p.From, err)
	}
	if !u.IsList() {
		return f.addObject(p, u)
	}
	return u.EachListItem(func(item runtime.Object) error {
		return f.addObject(p, item.(*unstructured.Unstructured))
	})
}

func (f *finisher) addObject(p *piece, u *unstructured.Unstructured) error {
	switch {
	case utils.IsKustomization(u):
		return nil // configuration of kustomize under another file name
	case u.GetKind() == "" || u.GetAPIVersion() == "":
		return fmt.Errorf("%s: not a Kubernetes object: it needs apiVersion and kind", p.From)
	case u.GetName() == "" && u.GetGenerateName() != "":
		return fmt.Errorf("%s: metadata.generateName is not supported, as it names a new object each time; set metadata.name", p.From)
	case u.GetName() == "":
		return fmt.Errorf("%s: metadata.name is missing", p.From)
	}
	for _, field := range []string{"labels", "annotations"} {
		if err := stringsOnly(u, field); err != nil {
			return fmt.Errorf("%s: %w", p.From, err)
		}
	}
	if err := normalizeObject(u); err != nil {
		return fmt.Errorf("%s: %w", p.From, err)
	}
	if f.spec.CommonLabels != nil || f.spec.CommonAnnotations != nil {
		utils.SetCommonMetadata([]*unstructured.Unstructured{u}, f.spec.CommonLabels, f.spec.CommonAnnotations)
	}
	data, err := canonical(u)
	if err != nil {
		return fmt.Errorf("%s: %w", p.From, err)
	}
	p.Objects = append(p.Objects, Object{
		GVK: intern(u.GroupVersionKind()), Namespace: unique.Make(u.GetNamespace()).Value(), Name: u.GetName(),
		JSON: data, Sum: xxhash.Sum64(data),
	})
	return nil
}
