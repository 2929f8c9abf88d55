package apply

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/weirhq/weir/internal/build"
)

// restored is the set of an owner as a new process finds it.
func (l *lab) restored(refs ...Ref) (Set, []Ref) {
	l.t.Helper()
	objects, lost, err := l.As("").Applied(l.t.Context(), l.owner, refs)
	must(l.t, err)
	return l.set(objects...), lost
}

func refOf(o build.Object) Ref { return Ref{o.GVK, o.Namespace, o.Name} }

// What a new process finds of a set, it applies without changing anything; from
// then on it corrects drift, and makes anew what is deleted.
func TestAppliedObjectsAreRestored(t *testing.T) {
	l := newLab(t)
	l.gadgets()
	var objects []build.Object
	var refs []Ref
	for _, k := range kinds {
		o := l.object(k.yaml, l.ns+"-restored")
		objects, refs = append(objects, o), append(refs, refOf(o))
	}
	l.apply(l.set(objects...))
	t.Cleanup(func() {
		for _, o := range objects {
			l.delete(o)
		}
	})
	for i, o := range objects {
		// Somebody else has fields of his own, which are none of our business.
		body := `{"metadata":{"annotations":{"theirs":"1"}}}`
		l.patch(o, "operator", body)
		if kinds[i].name == "Deployment" {
			l.patch(o, "operator", `{"spec":{"template":{"spec":{"priorityClassName":"","dnsPolicy":"Default"}}}}`)
		}
	}
	l = l.again()
	set, lost := l.restored(refs...)
	if len(lost) > 0 || len(set.Objects) != len(objects) {
		t.Fatalf("%d objects were restored, lost are %v", len(set.Objects), lost)
	}
	before := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		before[o.GVK.Kind] = l.live(o)
	}
	l.apply(set)
	for _, o := range objects {
		if d := diff(before[o.GVK.Kind].Object["metadata"].(map[string]any), l.live(o).Object["metadata"].(map[string]any)); d != "" && o.GVK.Kind != "Deployment" {
			t.Errorf("applying what was restored changed the %s (-before +after):\n%s", o.GVK.Kind, d)
		}
	}
	for i, o := range objects {
		e := &edit{lab: l, k: &kinds[i], o: o}
		must(t, e.raw("operator", types.JSONPatchType, []byte(`[{"op":"replace","path":"`+kinds[i].field+`","value":`+encoded(t, kinds[i].value)+`}]`)))
		l.caughtUp(o)
	}
	l.apply(set)
	for _, o := range objects {
		if d := cmp.Diff(spec(before[o.GVK.Kind]), spec(l.live(o)), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("drift of the %s was not corrected (-before +after):\n%s", o.GVK.Kind, d)
		}
	}
	for _, o := range objects {
		if o.GVK.Kind != "Namespace" { // whose deletion takes long
			l.delete(o)
			until(t, "the deletion of "+o.GVK.Kind, func() bool { return l.live(o) == nil })
			l.caughtUp(o)
		}
	}
	l.apply(set)
	for i, o := range objects {
		// The operator's annotation went with the object.
		if d := cmp.Diff(ownFields(t, before[o.GVK.Kind]), ownFields(t, l.live(o))); d != "" {
			t.Errorf("what was made anew of the %s is not what was applied (-before +after):\n%s", kinds[i].name, d)
		}
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

// spec is an object without what the API server and controllers keep in it.
func spec(u *unstructured.Unstructured) map[string]any {
	out := u.DeepCopy().Object
	delete(out, "metadata")
	delete(out, "status")
	return out
}

// ownFields are the fields of our entry in managedFields.
func ownFields(t *testing.T, u *unstructured.Unstructured) []string {
	t.Helper()
	var out []string
	for _, e := range u.GetManagedFields() {
		if e.Manager == "kustomize-controller" && e.Operation == metav1.ManagedFieldsOperationApply {
			set := fieldpath.NewSet()
			must(t, set.FromJSON(e.FieldsV1.GetRawReader()))
			set.Iterate(func(p fieldpath.Path) { out = append(out, p.String()) })
		}
	}
	slices.Sort(out)
	return out
}

// What was changed while no process ran cannot be told from what was applied:
// it stays, and nothing is removed because of it.
func TestRestoringLosesNothing(t *testing.T) {
	l := newLab(t)
	edited, taken, gone, foreign := l.configMap("edited", "one"), l.configMap("taken", "one"), l.configMap("gone", "one"), l.configMap("foreign", "one")
	l.apply(l.set(edited, taken, gone, foreign))
	l.Close()
	l.patch(edited, "kubectl-edit", `{"data":{"a":"by hand"}}`)
	l.patch(taken, "operator", `{"data":{"a":"theirs"}}`)
	l.patch(foreign, "operator", `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"others"}}}`)
	l.delete(gone)
	l = l.again()
	never := l.configMap("never", "one")
	set, lost := l.restored(refOf(edited), refOf(taken), refOf(gone), refOf(foreign), refOf(never))
	if d := cmp.Diff([]Ref{refOf(gone), refOf(foreign), refOf(never)}, lost); d != "" {
		t.Errorf("lost are (-want +got):\n%s", d)
	}
	l.apply(set)
	for o, want := range map[string]string{"edited": "by hand", "taken": "theirs"} {
		data, _, err := unstructured.NestedStringMap(l.live(l.configMap(o, "")).Object, "data")
		if err != nil || data["a"] != want || data["b"] != "two" {
			t.Errorf("%s has the data %v, want %s: %v", o, data, want, err)
		}
	}
	// From now on the edited value is kept.
	l.patch(edited, "kubectl-edit", `{"data":{"a":"again"}}`)
	l.caughtUp(edited)
	l.apply(set)
	if data, _, _ := unstructured.NestedStringMap(l.live(edited).Object, "data"); data["a"] != "by hand" {
		t.Errorf("edited has the data %v after another edit", data)
	}
}

// A user who may not read the objects does not get them by this way either.
func TestRestoringNeedsTheRightToRead(t *testing.T) {
	l := newLab(t)
	cm := l.configMap("a", "one")
	l.apply(l.set(cm))
	if objects, _, err := l.As("nobody").Applied(context.Background(), l.owner, []Ref{refOf(cm)}); err == nil || objects != nil {
		t.Errorf("%d objects were read: %v", len(objects), err)
	}
}
