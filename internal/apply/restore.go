package apply

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/weirhq/weir/internal/build"
)

// Applied returns what an owner applied earlier, from the objects themselves:
// managedFields say which fields were applied, and the cluster has their values.
// It is for a process that does not know the Set any more. Applying the result
// changes nothing, and afterwards keeps the objects as they are now.
//
// What was changed before cannot be told from what was applied. Fields that
// another field manager took are not in the result, those of managers that an
// Apply would strip are, so that nothing is lost. Objects that are not there, are
// being deleted, have another owner or no entry of ours are returned as lost.
func (a *Applier) Applied(ctx context.Context, owner types.NamespacedName, refs []Ref) (objects []build.Object, lost []Ref, err error) {
	if a.broken != nil {
		return nil, nil, a.broken
	}
	kinds := a.findKinds(ctx, refs)
	restored := make([]*build.Object, len(refs))
	var mu sync.Mutex
	var errs []error
	fanOut(a.options.Concurrency, len(refs), func(i int) {
		o, err := a.restore(ctx, owner, refs[i], kinds[refs[i].GroupVersionKind])
		if err != nil {
			mu.Lock()
			errs = append(errs, &ObjectError{Ref: refs[i], Op: "reading", Err: err})
			mu.Unlock()
		}
		restored[i] = o
	})
	if len(errs) > 0 {
		return nil, nil, join(errs)
	}
	for i, o := range restored {
		if o == nil {
			lost = append(lost, refs[i])
			continue
		}
		objects = append(objects, *o)
	}
	return objects, lost, nil
}

// restore returns what was applied of one object; nil when that is not known.
func (a *Applier) restore(ctx context.Context, owner types.NamespacedName, r Ref, kind found) (*build.Object, error) {
	if kind.mapping == nil {
		return nil, kind.err
	}
	r, ok := kind.place(r)
	if !ok {
		return nil, nil
	}
	live, err := a.full.Resource(kind.mapping.Resource).Namespace(r.Namespace).Get(ctx, r.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case live.GetDeletionTimestamp() != nil:
		return nil, nil
	case a.ownerOf(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: live.GetLabels()}}) != owner:
		return nil, nil
	}
	return a.appliedOf(live)
}

// appliedOf reduces a live object to what an Apply may call its own.
func (a *Applier) appliedOf(live *unstructured.Unstructured) (*build.Object, error) {
	policy := a.policy()
	own, foreign, known := fieldpath.NewSet(), fieldpath.NewSet(), false
	for _, e := range live.GetManagedFields() {
		fields := &fieldpath.Set{}
		if e.FieldsV1 == nil || fields.FromJSON(e.FieldsV1.GetRawReader()) != nil {
			continue
		}
		ours := policy.Ours(&e)
		switch {
		case ours && e.APIVersion != live.GetAPIVersion(): // its paths are of another version
			return nil, nil
		case ours, policy.Strip(e) && e.APIVersion == live.GetAPIVersion():
			own, known = own.Union(fields), known || ours
		default:
			foreign = foreign.Union(fields)
		}
	}
	if !known {
		return nil, nil
	}
	out := pick(live.Object, own, foreign).(map[string]any)
	md, _ := out["metadata"].(map[string]any)
	if md == nil {
		md = map[string]any{}
		out["metadata"] = md
	}
	out["apiVersion"], out["kind"], md["name"] = live.GetAPIVersion(), live.GetKind(), live.GetName()
	if ns := live.GetNamespace(); ns != "" {
		md["namespace"] = ns
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &build.Object{GVK: live.GroupVersionKind(), Namespace: live.GetNamespace(), Name: live.GetName(),
		JSON: data, Sum: xxhash.Sum64(data)}, nil
}

// pick returns of v what is in own. A field that is in own as a whole is taken
// without what others own below it.
func pick(v any, own, foreign *fieldpath.Set) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, field := range v {
			pe := fieldpath.PathElement{FieldName: &name}
			below, deeper := own.Children.Get(pe)
			switch {
			case deeper:
				out[name] = pick(field, below, foreign.WithPrefix(pe))
			case own.Members.Has(pe):
				out[name] = without(field, foreign.WithPrefix(pe))
			}
		}
		return out
	case []any:
		out := []any{}
		elements := firsts(own)
		for i, item := range v {
			at := slices.IndexFunc(elements, func(pe fieldpath.PathElement) bool { return names(pe, i, item) })
			if at < 0 {
				continue
			}
			if below, deeper := own.Children.Get(elements[at]); deeper {
				item = pick(item, below, foreign.WithPrefix(elements[at]))
			}
			out = append(out, item)
		}
		return out
	}
	return v
}

// without returns v without the fields that are in a set.
func without(v any, foreign *fieldpath.Set) any {
	m, ok := v.(map[string]any)
	if !ok || foreign.Empty() {
		return v
	}
	out := map[string]any{}
	for name, field := range m {
		pe := fieldpath.PathElement{FieldName: &name}
		below, deeper := foreign.Children.Get(pe)
		switch {
		case deeper:
			out[name] = without(field, below)
		case !foreign.Members.Has(pe):
			out[name] = field
		}
	}
	return out
}

// firsts returns the elements that the paths of a set begin with.
func firsts(s *fieldpath.Set) (out []fieldpath.PathElement) {
	seen := map[string]bool{}
	s.Iterate(func(p fieldpath.Path) {
		if name := p[0].String(); !seen[name] {
			seen[name] = true
			out = append(out, p[0])
		}
	})
	return out
}

// names reports whether an element of a path is the item of a list.
func names(pe fieldpath.PathElement, i int, item any) bool {
	switch {
	case pe.Index != nil:
		return *pe.Index == i
	case pe.Value != nil:
		return value.Equals(*pe.Value, value.NewValueInterface(item))
	case pe.Key != nil:
		m, ok := item.(map[string]any)
		return ok && !slices.ContainsFunc(*pe.Key, func(f value.Field) bool {
			return !value.Equals(f.Value, value.NewValueInterface(m[f.Name]))
		})
	}
	return false
}
