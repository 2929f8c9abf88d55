package build

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/artifact"
)

// text is what a build came to, piece by piece.
func text(t *testing.T, all []piece) string {
	t.Helper()
	var out strings.Builder
	for _, p := range all {
		fmt.Fprintln(&out, p.From, p.err)
		for _, o := range p.Objects {
			fmt.Fprintln(&out, o.GVK, o.Namespace, o.Name, string(o.JSON))
		}
	}
	return out.String()
}

// both builds a directory in parts of a size and whole; split is false when it
// could not be built in parts. Parts may come from m, unless it is nil.
func both(t *testing.T, files map[string][]byte, s Spec, size int, m *memo) (parts, whole string, split bool) {
	t.Helper()
	gate.lockShared()
	defer gate.RUnlock()
	run := func(parted bool) string {
		rec := newRecorder(context.Background(), artifact.NewTree(files, nil), guard{forbidRemote: true}.check)
		rec.way.parts, rec.way.whole = parted, !parted
		rec.memo = m
		at, err := prepare(rec, s)
		if err != nil {
			return "error: " + err.Error()
		}
		f, err := newFinisher(&s)
		if err != nil {
			return "error: " + err.Error()
		}
		if parted {
			out, ok := rec.split(at.dir, size, f)
			split = ok
			return text(t, out)
		}
		m, err := krun(rec, at.dir)
		if err != nil {
			return "error: " + err.Error()
		}
		out, err := f.all(t.Context(), m.Resources())
		if err != nil {
			return "error: " + err.Error()
		}
		return text(t, out)
	}
	return run(true), run(false), split
}

// TestPartsEqualWhole builds generated sources one object to a part, and whole:
// what can be built in parts comes out the same, byte for byte.
func TestPartsEqualWhole(t *testing.T) {
	split := 0
	check := func(name string, files map[string][]byte, s Spec, size int) bool {
		t.Helper()
		parts, whole, ok := both(t, files, s, size, nil)
		if ok && parts != whole {
			t.Errorf("%s: (-whole +parts)\n%s", name, cmp.Diff(whole, parts))
		}
		return ok
	}
	for seed := range 16 {
		s := generatedSource(seed)
		if check(s.name, s.files, Spec{Path: s.dir}, 1) {
			split++
		}
	}
	for _, size := range []int{2, partObjects} {
		for name, k := range map[string]string{
			"plain": "", "namespace": "namespace: other\n", "labels": "labels: [{pairs: {a: b}, includeSelectors: true, includeTemplates: true}]\n",
			"common": "commonLabels: {a: b}\ncommonAnnotations: {c: d}\n", "images": "images: [{name: example.org/app3, newTag: '2'}]\n",
			"prefix": "namePrefix: p-\n", "suffix and namespace": "nameSuffix: -s\nnamespace: other\n", "replicas": "replicas: [{name: app2, count: 2}]\n",
			"patches": "patches:\n- {target: {kind: Deployment}, patch: '[{\"op\": \"add\", \"path\": \"/metadata/labels\", \"value\": {\"x\": \"y\"}}]'}\n" +
				"- patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: app4}, spec: {replicas: 7, template: {spec: {serviceAccountName: app5}}}}'\n" +
				"namePrefix: p-\n",
		} {
			files := many(6, k)
			if !check(fmt.Sprintf("%s by %d", name, size), files, Spec{Path: "top", TargetNamespace: "ns"}, size) {
				t.Errorf("%s was not built in parts", name)
			}
			split++
		}
	}
	t.Logf("%d sources were built in parts", split)
	if split < 18 {
		t.Errorf("%d sources were built in parts; the test shows little", split)
	}
	for name, k := range map[string]string{"generator": "configMapGenerator: [{name: x, literals: [a=b]}]\n", "sorted": "sortOptions: {order: legacy}\n",
		"renaming patch":    "patches: [{target: {kind: Service}, patch: '[{\"op\": \"replace\", \"path\": \"/metadata/name\", \"value\": \"else\"}]'}]\n",
		"deleting patch":    "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: app1}, $patch: delete}'}]\n",
		"patch of nothing":  "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: nobody}}'}]\n",
		"number of nothing": "replicas: [{name: x, count: 2}]\n"} {
		if _, _, ok := both(t, many(3, k), Spec{Path: "top"}, 1, nil); ok {
			t.Errorf("%s: built in parts, though it may touch several objects", name)
		}
	}
}

// many is an overlay over n applications of eight objects, half of them in files
// of their own.
func many(n int, overlay string) map[string][]byte {
	files := map[string][]byte{"top/kustomization.yaml": []byte("resources: [../base]\n" + overlay)}
	base := "resources:\n"
	for i := range n {
		objects := app(fmt.Sprintf("app%d", i), "")
		files[fmt.Sprintf("base/app%d.yaml", i)] = []byte(strings.Join(objects[:4], "---\n"))
		base += fmt.Sprintf("- app%d.yaml\n", i)
		for j, o := range objects[4:] {
			files[fmt.Sprintf("base/app%d-%d.yaml", i, j)] = []byte(o)
			base += fmt.Sprintf("- app%d-%d.yaml\n", i, j)
		}
	}
	files["base/kustomization.yaml"] = []byte(base)
	return files
}

// TestLargeSources: more objects than a whole build may have are built in parts,
// a change of one of them is noticed, and what cannot be built in parts says so.
func TestLargeSources(t *testing.T) {
	var all strings.Builder
	for i := range maxWhole + 500 {
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {a: b}\n", i)
	}
	files := map[string][]byte{"all.yaml": []byte(all.String())}
	e := New(Options{CacheBytes: -1})
	result, err := e.Build(t.Context(), artifact.NewTree(files, nil), Spec{TargetNamespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(result.Objects); n != maxWhole+500 || result.Objects[n-1].Name != fmt.Sprintf("c%d", n-1) || result.Objects[7].Namespace != "ns" {
		t.Errorf("%d objects, the last one is %s", n, result.Objects[n-1].describe())
	}
	files["kustomization.yaml"] = []byte("resources: [all.yaml]\nconfigMapGenerator: [{name: x, literals: [a=b]}]\n")
	_, err = e.Build(t.Context(), artifact.NewTree(files, nil), Spec{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than %d objects; split it", maxWhole)) {
		t.Errorf("with a generator the error is %v", err)
	}
	twice := map[string][]byte{"all.yaml": []byte(all.String()), "b.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c3}\n")}
	for i := range splitObjects { // so many that a whole build says it
		delete(twice, "all.yaml")
		twice[fmt.Sprintf("c%d.yaml", i)] = fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n", i)
	}
	if _, err = e.Build(t.Context(), artifact.NewTree(twice, nil), Spec{}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("with an object twice the error is %v", err)
	}
}

// The read set of a build in parts is exact as well.
func TestPartsAreCached(t *testing.T) {
	files := many(60, "namespace: x\n")
	e := New(Options{})
	build := func(change map[string][]byte) *Result {
		t.Helper()
		result, err := e.Build(t.Context(), artifact.NewTree(files, nil).With(change), Spec{Path: "top"})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	first := build(nil)
	if len(first.Objects) <= splitObjects || first.Cached {
		t.Fatalf("%d objects, cached %t", len(first.Objects), first.Cached)
	}
	if !build(map[string][]byte{"elsewhere/a.yaml": []byte("x")}).Cached {
		t.Error("a file that is not read makes a difference")
	}
	for name, change := range map[string]map[string][]byte{
		"an object in a file of its own": {"base/app7-1.yaml": []byte(manifest("Role", "rbac.authorization.k8s.io/v1", "app7", "", "rules: []\n"))},
		"one among others":               {"base/app7.yaml": []byte(app("app7", "")[0])},
		"the overlay":                    {"top/kustomization.yaml": []byte("resources: [../base]\n")},
		"a second kustomization":         {"base/kustomization.yml": []byte("resources: []\n")},
	} {
		result, err := e.Build(t.Context(), artifact.NewTree(files, nil).With(change), Spec{Path: "top"})
		if err == nil && (result.Cached || result.Digest == first.Digest) {
			t.Errorf("%s: a change makes no difference", name)
		}
		if again := build(nil); again.Digest != first.Digest {
			t.Errorf("%s: changed back, the build differs", name)
		}
	}
}
