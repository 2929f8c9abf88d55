package apply

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/weirhq/weir/internal/apply/drift"
)

// maxPaths bounds the fields that are named of one object.
const maxPaths = 20

// finding is what a comparison has found, kept as long as the object stays the
// one that was compared.
type finding struct {
	change  Change
	version uint64 // of the row then
}

// compare finds out how the object in the cluster differs from the one wanted,
// and writes nothing: it is read, and an apply of it is tried. Of an object that
// was compared before, and has not moved since, the former answer is given.
func (a *Applier) compare(ctx context.Context, t *task) error {
	if t.dirt != nil && t.dirt.found != nil && !t.recheck && t.dirt.found.version == t.row.RV {
		t.change = t.dirt.found.change
		return nil
	}
	live, paths, err := a.deviations(ctx, t)
	switch {
	case err != nil:
		return err
	case live == nil:
		t.change.Action, t.change.Drift, t.change.Missing = Drifted, true, true
		return nil
	case marksOf(a.options.OwnerGroup, live.GetLabels(), live.GetAnnotations())&drift.Leave != 0:
		t.change.Action = Skipped
		return nil
	}
	t.change.Action = Unchanged
	slices.Sort(paths)
	if paths = slices.Compact(paths); len(paths) > 0 {
		t.change.Action, t.change.Drift = Drifted, true
		t.change.Paths = paths[:min(len(paths), maxPaths)]
		t.change.Manager = t.resource.table.Policy.Blame(&metav1.PartialObjectMetadata{
			ObjectMeta: metav1.ObjectMeta{ManagedFields: live.GetManagedFields()}})
	}
	t.resource.table.Confirm(t.key, t.row, t.sum, t.payload.expires) // seen now; refused if it was applied already or moved
	t.resource.keepFinding(t, paths)
	return nil
}

// deviations reads an object, nil when it is not there, and names the fields that
// an apply would change. When somebody writes the object between the two requests,
// their changes would be among that, so it is read again.
func (a *Applier) deviations(ctx context.Context, t *task) (live *unstructured.Unstructured, paths []string, err error) {
	in, force := a.full.Resource(a.served(t)).Namespace(t.ref.Namespace), true
	for round := range maxReads {
		if live, err = in.Get(ctx, t.ref.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return nil, nil, nil
		} else if err != nil {
			return nil, nil, t.fail("reading", err)
		}
		wanted, err := in.Patch(ctx, t.ref.Name, types.ApplyPatchType, t.payload.json,
			metav1.PatchOptions{FieldManager: a.options.FieldManager, Force: &force, DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			if paths = immutableFields(err); len(paths) > 0 { // somebody made it anew, otherwise
				return live, paths, nil
			}
			return nil, nil, t.fail("dry run", err)
		}
		if wanted.GetResourceVersion() == live.GetResourceVersion() || round == maxReads-1 {
			return live, append(differences(live.Object, wanted.Object), a.foreign(t, live, wanted)...), nil
		}
	}
	panic("unreachable: the last round returns")
}

// maxReads is how often an object that moves while it is compared is read.
const maxReads = 5

// immutableFields names the fields of an object that cannot become what they
// should be, if that is all that an error says. Within lists it names the list.
func immutableFields(err error) (paths []string) {
	var status apierrors.APIStatus
	if !isImmutable(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	for _, cause := range status.Status().Details.Causes {
		if !immutable.MatchString(cause.Message) {
			return nil
		}
		field, _, _ := strings.Cut(cause.Field, "[")
		paths = append(paths, "/"+strings.ReplaceAll(field, ".", "/"))
	}
	return paths
}

// keepFinding marks the object with what was found, unless there is a newer mark.
func (r *resource) keepFinding(t *task, paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dirt[t.key]
	switch {
	case d != t.dirt:
		return // it moved meanwhile
	case d == nil && len(paths) == 0:
		return
	case d == nil:
		d = &dirt{ref: t.ref, owner: number(t.owner), verdict: drift.Drifted, manager: t.change.Manager}
	default:
		d = new(*d) // others may be reading it
	}
	d.found = &finding{change: t.change, version: t.row.RV}
	r.dirt[t.key] = d
}

// bookkeeping are the fields that move with every change and say nothing about it.
var bookkeeping = []string{"/metadata/managedFields", "/metadata/resourceVersion", "/metadata/generation", "/status"}

// differences names, as JSON pointers, the fields in which two states of one
// object differ. Where the lengths of lists differ it names the list.
func differences(live, wanted map[string]any) (paths []string) {
	var walk func(at string, a, b any)
	walk = func(at string, a, b any) {
		if slices.Contains(bookkeeping, at) {
			return
		}
		am, isMap := a.(map[string]any)
		if bm, ok := b.(map[string]any); ok && isMap {
			both := maps.Clone(am)
			maps.Copy(both, bm)
			for _, key := range slices.Sorted(maps.Keys(both)) {
				walk(at+"/"+pointerEscape.Replace(key), am[key], bm[key])
			}
			return
		}
		al, isList := a.([]any)
		if bl, ok := b.([]any); ok && isList && len(al) == len(bl) {
			for i := range al {
				walk(at+"/"+strconv.Itoa(i), al[i], bl[i])
			}
			return
		}
		if !reflect.DeepEqual(a, b) {
			paths = append(paths, at)
		}
	}
	walk("", live, wanted)
	return paths
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// foreign names the fields that managers own which may not own any, and that an
// apply would take away. Within lists it names the list.
func (a *Applier) foreign(t *task, live, wanted *unstructured.Unstructured) (paths []string) {
	if t.payload.marks&drift.Merge != 0 {
		return nil
	}
	policy := &t.resource.table.Policy
	own := fieldpath.NewSet()
	for _, e := range wanted.GetManagedFields() {
		if policy.Ours(&e) {
			own = own.Union(fieldsOf(e))
		}
	}
	for _, e := range live.GetManagedFields() {
		if policy.Ours(&e) || !policy.Strip(e) {
			continue
		}
		fieldsOf(e).Difference(own).Leaves().Iterate(func(p fieldpath.Path) {
			names := fieldNames(p)
			if _, found, _ := unstructured.NestedFieldNoCopy(live.Object, names...); !found {
				return
			}
			for i, name := range names {
				names[i] = pointerEscape.Replace(name)
			}
			paths = append(paths, "/"+strings.Join(names, "/"))
		})
	}
	return paths
}

// fieldNames is the part of a path before it enters a list.
func fieldNames(p fieldpath.Path) (names []string) {
	for _, element := range p {
		if element.FieldName == nil {
			break
		}
		names = append(names, *element.FieldName)
	}
	return names
}

func fieldsOf(e metav1.ManagedFieldsEntry) *fieldpath.Set {
	s := fieldpath.NewSet()
	if e.FieldsV1 != nil {
		_ = s.FromJSON(e.FieldsV1.GetRawReader()) // what cannot be read owns nothing
	}
	return s
}
