package kustomization

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/build"
)

// world is a source and everything else that a build reads.
type world struct {
	*rig
	random *rand.Rand
	files  map[string]string
	next   int
}

// change is one random change of a file, the spec, a Secret or a ConfigMap.
func (w *world) change() string {
	w.next++
	pick := func(of ...string) string { return of[w.random.IntN(len(of))] }
	value := fmt.Sprintf("value-%d", w.next)
	switch n := w.random.IntN(12); n {
	case 0, 1:
		name := pick("a", "b", "c")
		w.files["app/"+name+".yaml"] = configMap(name, pick(value, "${fromMap}", "${fromSecret}", "${own:=default}"))
	case 2:
		delete(w.files, "app/"+pick("b", "c")+".yaml")
	case 3:
		w.files["app/kustomization.yaml"] = pick("resources: [a.yaml]\n", "resources: [a.yaml]\nconfigMapGenerator: [{name: g, files: [note.txt]}]\n",
			"resources: [a.yaml, ../base]\n", "namePrefix: p-\nresources: [a.yaml]\n")
	case 4:
		delete(w.files, "app/kustomization.yaml")
	case 5:
		w.files["app/note.txt"] = value
	case 6:
		w.files["base/kustomization.yaml"] = "resources: [d.yaml]\n"
		w.files["base/d.yaml"] = configMap("d", value)
	case 7:
		w.files["elsewhere/"+pick("x", "y")] = value // nothing reads this
	case 8:
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars", Namespace: w.ns}, Data: map[string]string{"fromMap": value}}
		if err := w.Update(w.Context(), cm); err != nil {
			w.Fatal(err)
		}
	case 9:
		w.setSecret("vars", map[string][]byte{"fromSecret": []byte(value)})
	case 10:
		w.edit("app", func(k *kustomizev1.Kustomization) {
			switch w.random.IntN(7) {
			case 0:
				k.Spec.NamePrefix = pick("", "x-", "y-")
			case 1:
				k.Spec.CommonMetadata = &kustomizev1.CommonMetadata{Labels: map[string]string{"l": value}}
			case 2:
				k.Spec.PostBuild.Substitute = map[string]string{"own": value}
			case 3:
				k.Spec.Path = pick("./app", "./app", "./base")
			case 4:
				k.Spec.Patches = []kustomize.Patch{{Patch: fmt.Sprintf("- {op: add, path: /data/patched, value: %s}", value), Target: &kustomize.Selector{Kind: "ConfigMap", Name: "a"}}}
			case 5:
				k.Spec.BuildMetadata = []kustomizev1.BuildMetadataOption{kustomizev1.BuildMetadataOption("originAnnotations")}
			case 6:
				k.Spec.Components, k.Spec.IgnoreMissingComponents = []string{"../component"}, true
			}
		})
	default:
		w.files["component/kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {c: " + value + "}\n"
	}
	names := slices.Sorted(maps.Keys(w.files))
	return fmt.Sprintf("change %d of files %v", w.next, names)
}

// built is what a build makes of the world, or why it does not.
func (w *world) built(r *Reconciler) (objects map[string]string, failure string) {
	w.Helper()
	k := &kustomizev1.Kustomization{}
	if err := w.Get(w.Context(), w.key("app"), k); err != nil {
		w.Fatal(err)
	}
	s, err := r.source(w.Context(), k)
	if err != nil {
		w.Fatal(err)
	}
	result, err := r.build(w.Context(), k, s)
	if err != nil {
		return nil, err.Error()
	}
	objects = map[string]string{}
	for _, o := range result.Objects {
		objects[o.GVK.Kind+"/"+o.Name] = string(o.JSON)
	}
	return objects, ""
}

// Whatever changes in files, spec, Secrets and ConfigMaps: what the cache of
// builds says is what a build by a process without any memory says, and what
// the cluster then has is that.
func TestCachedBuildsAreExact(t *testing.T) {
	const steps = 60
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &world{rig: newRig(t), random: rand.New(rand.NewPCG(seed, 1)), files: map[string]string{
				"app/a.yaml": configMap("a", "${fromMap}"), "base/kustomization.yaml": "resources: [d.yaml]\n", "base/d.yaml": configMap("d", "1")}}
			if err := w.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars", Namespace: w.ns}, Data: map[string]string{"fromMap": "m"}}); err != nil {
				t.Fatal(err)
			}
			w.setSecret("vars", map[string][]byte{"fromSecret": []byte("s")})
			w.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
				s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "vars"}}}
			})
			applied := 0
			for step := range steps {
				what := w.change()
				w.publish(fmt.Sprintf("v%d", step), maps.Clone(w.files))
				fresh := New(w.o)
				fresh.Builder = build.New(build.Options{})
				want, wantErr := w.built(fresh)
				got, gotErr := w.built(w.worker)
				if diff := cmp.Diff(want, got); diff != "" || wantErr != gotErr {
					t.Fatalf("step %d, %s: errors %q and %q (-built +cached):\n%s", step, what, wantErr, gotErr, diff)
				}
				if step%6 == 0 && wantErr == "" {
					w.appliedIs(want, what)
					applied++
				}
			}
			if applied == 0 {
				t.Error("nothing was ever applied")
			}
		})
	}
}

// appliedIs applies the world and compares the cluster with a build.
func (w *world) appliedIs(want map[string]string, what string) {
	w.Helper()
	for range 2 { // the first may let others past
		k, _ := w.reconcile("app")
		w.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	}
	var all corev1.ConfigMapList
	if err := w.List(w.Context(), &all, client.InNamespace(w.ns), client.MatchingLabels{kustomizev1.GroupVersion.Group + "/name": "app"}); err != nil {
		w.Fatal(err)
	}
	got := map[string]map[string]string{}
	for _, cm := range all.Items {
		got["ConfigMap/"+cm.Name] = cm.Data
	}
	expected := map[string]map[string]string{}
	for name, text := range want {
		var o struct{ Data map[string]string }
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			w.Fatal(err)
		}
		expected[name] = o.Data
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		w.Fatalf("%s: (-built +cluster)\n%s", what, strings.TrimSpace(diff))
	}
}
