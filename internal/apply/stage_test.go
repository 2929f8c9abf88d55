package apply

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirhq/weir/internal/build"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

func TestInvalidObjectStopsItsStageBeforeWrites(t *testing.T) {
	l := newLab(t)
	space := l.object("{apiVersion: v1, kind: Namespace}", l.ns+"-more")
	t.Cleanup(func() { l.delete(space) })
	good := l.configMap("good", "one")
	bad := l.object("{apiVersion: v1, kind: Service, spec: {ports: [{port: 99999}]}}", "bad")
	worse := l.object("{apiVersion: v1, kind: Service, spec: {prots: []}}", "worse")
	res, err := l.try(l.set(good, bad, space, worse))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Service/" + l.ns + "/bad: dry run failed (Invalid)", "spec.ports[0].port", "Service/" + l.ns + "/worse", ".spec.prots"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if l.live(good) != nil {
		t.Error("an object of the stage was written")
	}
	if got := summary(res.Changes); got != "created 1" || l.live(space) == nil {
		t.Errorf("changes %q, want the namespace of the stage before", got)
	}
	want := [][]Ref{{{space.GVK, "", space.Name}}}
	if d := cmp.Diff(want, l.recorded); d != "" {
		t.Errorf("recorded (-want +got):\n%s", d)
	}
}

func TestRecordComesBeforeTheStage(t *testing.T) {
	l := newLab(t)
	l.recordErr = errors.New("status cannot be written")
	o := l.configMap("a", "one")
	if _, err := l.try(l.set(o)); !errors.Is(err, l.recordErr) {
		t.Errorf("error %v", err)
	}
	if l.live(o) != nil {
		t.Error("written without a record")
	}
}

func TestDefinitionAndObjectInOneSet(t *testing.T) {
	l := newLab(t)
	crd := l.object(strings.ReplaceAll(strings.ReplaceAll(gadgetCRD, "gadget", "widget"), "Gadget", "Widget"), "")
	o := l.object("{apiVersion: drift.example/v1, kind: Widget, spec: {size: small}}", "w")
	t.Cleanup(func() { l.delete(crd) })
	s := l.set(o, crd)
	if got, _ := l.apply(s); got != "created 2" {
		t.Errorf("apply did %q", got)
	}
	if len(l.recorded) != 2 || len(l.recorded[0]) != 1 || len(l.recorded[1]) != 2 {
		t.Errorf("recorded %v", l.recorded)
	}
	l.want(s, "unchanged 2", 0)
	l.caughtUp(o)

	// The kind goes away with everything, and comes back.
	l.delete(crd)
	until(t, "the kind being gone", func() bool { return l.live(crd) == nil })
	l.noticed()
	until(t, "both being marked", func() bool { return len(l.Drifted(l.owner)) == 2 })
	if got, _ := l.apply(s); got != "created 2" {
		t.Errorf("apply did %q", got)
	}
	until(t, "the watch being back", func() bool { return !l.Blind(Ref{GroupVersionKind: o.GVK}) })
	l.caughtUp(o)
	for len(l.notices) > 0 {
		<-l.notices
	}
	l.delete(o)
	l.noticed()
	l.want(s, "created 1, unchanged 1", 1)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	l := newLab(t)
	elsewhere := l.configMap("x", "one")
	elsewhere.Namespace = "not-there"
	elsewhere.JSON = []byte(strings.ReplaceAll(string(elsewhere.JSON), l.ns, "not-there"))
	nowhere := l.configMap("x", "one")
	nowhere.Namespace = ""
	for name, c := range map[string]struct {
		objects []build.Object
		want    []string
		not     string
		is      error
	}{
		"unknown kind": {objects: []build.Object{l.object("{apiVersion: no.example/v1, kind: Nothing}", "x")},
			want: []string{`Nothing/` + l.ns + `/x: no kind "Nothing" in "no.example/v1": install its CustomResourceDefinition`}, is: ErrNoKind},
		"no such namespace": {objects: []build.Object{elsewhere}, want: []string{`ConfigMap/not-there/x: namespace "not-there" does not exist`}},
		"no namespace":      {objects: []build.Object{nowhere}, want: []string{"ConfigMap/x: namespace not specified"}},
		"twice":             {objects: []build.Object{l.configMap("x", "one"), l.configMap("x", "two")}, want: []string{"in the source twice"}},
		"label that is no text": {objects: []build.Object{l.object("{apiVersion: v1, kind: ConfigMap, metadata: {labels: {a: true}}}", "x")},
			want: []string{`metadata.labels["a"] is not a string`}},
		"secret, not base64": {objects: []build.Object{l.object("{apiVersion: v1, kind: Secret, data: {password: hunter2hunter2}}", "s")},
			want: []string{"Secret/" + l.ns + "/s: dry run failed"}, not: "hunter2"},
		"secret, a number": {objects: []build.Object{l.object("{apiVersion: v1, kind: Secret, stringData: {pin: 424242}}", "s")},
			want: []string{"Secret/" + l.ns + "/s: dry run failed"}, not: "424242"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.try(l.set(c.objects...))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if c.not != "" && strings.Contains(err.Error(), c.not) {
				t.Errorf("%q says %q", err, c.not)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
		})
	}
	many := make([]build.Object, 14)
	for i := range many {
		many[i] = l.object("{apiVersion: v1, kind: Service, spec: {ports: [{port: 99999}]}}", "s"+string(rune('a'+i)))
	}
	_, err := l.try(l.set(many...))
	if err == nil || strings.Count(err.Error(), "Service/") != shownErrors || !strings.HasSuffix(err.Error(), "and 4 more errors") {
		t.Errorf("many errors: %v", err)
	}
}

func TestForce(t *testing.T) {
	const job = `{apiVersion: batch/v1, kind: Job, metadata: {annotations: {%s}}, spec: {suspend: true, completions: %s, template: {spec: {restartPolicy: Never, containers: [{name: c, image: "x:1"}]}}}}`
	with := func(annotation, completions string) string {
		return strings.Replace(strings.Replace(job, "%s", annotation, 1), "%s", completions, 1)
	}
	l := newLab(t)
	first := l.object(with("", "1"), "j")
	l.want(l.set(first), "created 1", 2)
	uid := l.live(first).GetUID()

	changed := l.object(with("", "2"), "j")
	if _, err := l.try(l.set(changed)); err == nil || !strings.Contains(err.Error(), "field is immutable") {
		t.Fatalf("error %v", err)
	}
	invalid := l.set(l.object(with("", "-2"), "j"))
	invalid.Force = true
	if _, err := l.try(invalid); !apierrors.IsInvalid(err) {
		t.Fatalf("error %v", err)
	}
	if l.live(first).GetUID() != uid {
		t.Fatal("deleted for an invalid manifest")
	}
	// The change is of an immutable field, but the replacement is invalid too.
	both := l.set(l.object(strings.Replace(with("", "2"), "restartPolicy: Never", "restartPolicy: Always", 1), "j"))
	both.Force = true
	if _, err := l.try(both); err == nil || l.live(first).GetUID() != uid {
		t.Fatalf("error %v, or deleted for a replacement that is refused", err)
	}

	annotated := l.object(with(`kustomize.toolkit.fluxcd.io/force: enabled`, "2"), "j")
	if got, _ := l.apply(l.set(annotated)); got != "created 1" {
		t.Errorf("apply did %q", got)
	}
	if now := l.live(annotated).GetUID(); now == uid {
		t.Error("not recreated by annotation")
	}
	forced := l.set(l.object(with("", "3"), "j"))
	forced.Force = true
	if got, _ := l.apply(forced); got != "created 1" {
		t.Errorf("apply did %q", got)
	}
	l.caughtUp(forced.Objects[0])
	l.quiet()
	l.want(forced, "unchanged 1", 0)
}

func TestTakingOver(t *testing.T) {
	l := newLab(t)
	o := l.configMap("mine", "one")
	other := types.NamespacedName{Namespace: l.ns, Name: "other"}

	t.Run("from kubectl", func(t *testing.T) {
		_, err := l.dyn.Resource(configMaps.GroupVersion().WithResource("configmaps")).Namespace(l.ns).Patch(context.Background(), "mine",
			types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"mine","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}},"data":{"a":"zero","z":"old"}}`),
			metav1.PatchOptions{FieldManager: "kubectl"})
		must(t, err)
		l.want(l.set(o), "configured 1", 4) // dry run, read, strip, apply
		live := l.live(o)
		if _, ok := live.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"]; ok {
			t.Error("kubectl's annotation is still there")
		}
		if d := cmp.Diff(map[string]any{"a": "one", "b": "two"}, live.Object["data"]); d != "" {
			t.Errorf("data (-want +got):\n%s", d)
		}
		l.want(l.set(o), "unchanged 1", 0)
	})
	t.Run("by another owner", func(t *testing.T) {
		res, err := l.try(Set{Owner: other, Objects: []build.Object{o}})
		must(t, err)
		if len(res.Changes) != 1 || res.Changes[0].From != l.owner {
			t.Errorf("changes %+v, want one from %s", res.Changes, l.owner)
		}
	})
	t.Run("refused", func(t *testing.T) {
		fresh := newLab(t, func(_ *rest.Config, o *Options) {
			o.MayTake = func(Ref, types.NamespacedName, types.NamespacedName) bool { return false }
		})
		fresh.ns, fresh.owner = l.ns, l.owner
		_, err := fresh.try(fresh.set(o))
		var owned *OwnedError
		if !errors.As(err, &owned) || owned.Owner != other {
			t.Fatalf("error %v", err)
		}
		if got := l.live(o).GetLabels()["kustomize.toolkit.fluxcd.io/name"]; got != "other" {
			t.Errorf("taken: the owner is %q", got)
		}
	})
}

func TestAnnotations(t *testing.T) {
	const group = "kustomize.toolkit.fluxcd.io/"
	l := newLab(t)
	with := func(name, annotation, value string) build.Object {
		return l.object("{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {"+group+annotation+"}}, data: {a: "+value+"}}", name)
	}
	disabled, ignored := with("disabled", "reconcile: disabled", "one"), with("ignored", "ssa: Ignore", "one")
	l.want(l.set(disabled, ignored), "skipped 2", 0)
	if l.live(disabled) != nil || l.live(ignored) != nil {
		t.Error("written")
	}
	once := with("once", "ssa: IfNotPresent", "one")
	l.want(l.set(once), "created 1", 3) // one more: does it exist?
	l.want(l.set(with("once", "ssa: IfNotPresent", "two")), "skipped 1", 0)
	l.delete(once)
	until(t, "the watch noticing", func() bool { _, _, row := l.row(once); return row.RV == 0 || len(l.Drifted(l.owner)) == 1 })
	l.want(l.set(with("once", "ssa: IfNotPresent", "two")), "created 1", 3)

	merged := with("merged", "ssa: Merge", "one")
	l.want(l.set(merged), "created 1", 2)
	l.patch(merged, "kubectl-edit", `{"data":{"z":"kept"}}`)
	l.caughtUp(merged)
	l.want(l.set(merged), "unchanged 1", 0)
	l.want(l.set(with("merged", "ssa: Merge", "two")), "configured 1", 1)
	if d := cmp.Diff(map[string]any{"a": "two", "z": "kept"}, l.live(merged).Object["data"]); d != "" {
		t.Errorf("data (-want +got):\n%s", d)
	}
}

// TestRecreateHeldByFinalizers: an object that is to be made anew and does not go
// holds nobody up. It is made as soon as it has gone.
func TestRecreateHeldByFinalizers(t *testing.T) {
	l := newLab(t)
	secret := func(value string) Set {
		s := l.set(l.object("{apiVersion: v1, kind: Secret, immutable: true, stringData: {a: "+value+"}}", "held"))
		s.Force = true
		return s
	}
	l.want(secret("one"), "created 1", 2)
	o := secret("one").Objects[0]
	l.patch(o, "somebody", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	l.caughtUp(o)
	_, err := l.try(secret("two"))
	if !Terminating(err) || !strings.Contains(err.Error(), "example.com/hold") {
		t.Fatalf("error is %v, want one that names the finalizer", err)
	}
	l.patch(o, "somebody", `{"metadata":{"finalizers":null}}`)
	l.noticed()
	if got, _ := l.apply(secret("two")); got != "created 1" {
		t.Errorf("apply did %q", got)
	}
}
