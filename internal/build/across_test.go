package build

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/artifact"
)

// layered is a source of three layers whose objects name each other across them,
// under the names that they have in the sources or in the layer below.
func layered(seed int) source {
	g := &generator{r: rand.New(rand.NewPCG(uint64(seed), 11)), files: map[string][]byte{}}
	extend := func(dir, text string) {
		at := dir + "/kustomization.yaml"
		g.files[at] = append(g.files[at], text...)
	}
	pick := func(some ...string) string { return some[g.r.IntN(len(some))] }
	rename := func(dir string) {
		if g.on(.6) {
			extend(dir, "namePrefix: "+pick("a-", "b-")+"\n")
		}
		if g.on(.3) {
			extend(dir, "nameSuffix: "+pick("-x", "-y")+"\n")
		}
		if g.on(.3) {
			extend(dir, "namespace: "+pick("left", "right")+"\n")
		}
	}
	for _, name := range []string{"one", "two"} {
		g.base("base/"+name, 1+g.r.IntN(2))
		rename("base/" + name)
	}
	name := func() string { return pick("", "a-", "b-") + pick("one0", "two0", "one1") + pick("", "-x") }
	g.files["mid/job.yaml"] = fmt.Appendf(nil, `apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec: {template: {spec: {restartPolicy: Never, serviceAccountName: %s, containers: [{name: c, image: i, envFrom: [{configMapRef: {name: %s}}, {secretRef: {name: %s}}]}]}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: hpa}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}, maxReplicas: 3}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bind, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %s}
subjects: [{kind: ServiceAccount, name: %s, namespace: %s}]
`, name(), name(), name(), name(), name(), pick("left", "right"), name(), name(), pick("left", "right"))
	g.files["mid/kustomization.yaml"] = []byte("resources: [../base/one, job.yaml]\n")
	rename("mid")
	g.files["top/kustomization.yaml"] = []byte("resources: [../mid, ../base/two]\n")
	rename("top")
	if g.on(.3) {
		extend("top", fmt.Sprintf("replicas: [{name: %s, count: 4}]\n", pick("one0", "two0")))
	}
	patches := "patches:\n"
	if g.on(.3) {
		g.files["top/p.yaml"] = fmt.Appendf(nil, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec: {template: {spec: {serviceAccountName: %s}}}\n", pick("one0", "two0"), name())
		patches += "- path: p.yaml\n"
	}
	patches += fmt.Sprintf("- target: {kind: Deployment, name: %s}\n  patch: |-\n    - {op: add, path: /spec/template/spec/volumes, value: [{name: v, configMap: {name: %s}}]}\n", pick(".*", "a-.*", ".*0"), name())
	extend("top", patches)
	return source{fmt.Sprintf("layers %d", seed), g.files, "top"}
}

// References that cross parts, whichever layer named them, come out as in a
// whole build.
func TestReferencesAcrossParts(t *testing.T) {
	split := 0
	for seed := range 52 {
		s := layered(seed)
		parts, whole, ok := both(t, s.files, Spec{Path: s.dir}, 2, nil)
		if !ok {
			continue
		}
		if split++; parts != whole {
			t.Errorf("%s: (-whole +parts)\n%s", s.name, cmp.Diff(whole, parts))
		}
	}
	t.Logf("%d sources were built in parts", split)
	if split < 12 {
		t.Errorf("%d sources were built in parts; the test shows little", split)
	}
}

// A large source with an OpenAPI document of its own is built in parts as well,
// and its patches merge lists as the document says.
func TestPartsWithASchemaOfTheirOwn(t *testing.T) {
	files := map[string][]byte{
		"schema.json":        []byte(widgetSchema),
		"kustomization.yaml": []byte("openapi: {path: schema.json}\nnamePrefix: p-\nresources: [all.yaml]\npatches:\n- target: {kind: Widget}\n  patch: '{apiVersion: example.org/v1, kind: Widget, metadata: {name: any}, spec: {items: [{name: a, value: new}]}}'\n"),
	}
	var all strings.Builder
	for i := range splitObjects + 20 {
		fmt.Fprintf(&all, "---\napiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w%d}\nspec: {items: [{name: a, value: old}, {name: b, value: kept}]}\n", i)
	}
	files["all.yaml"] = []byte(all.String())
	result, err := New(Options{}).Build(t.Context(), artifact.NewTree(files, nil), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"p-w7"},"spec":{"items":[{"name":"a","value":"new"},{"name":"b","value":"kept"}]}}`
	if len(result.Objects) != splitObjects+20 || string(result.Objects[7].JSON) != want {
		t.Errorf("%d objects, the eighth is %s", len(result.Objects), result.Objects[7].JSON)
	}
	files["kustomization.yaml"] = append(files["kustomization.yaml"], "configMapGenerator: [{name: x, literals: [a=b]}]\n"...)
	for i := range maxAlone {
		fmt.Fprintf(&all, "---\napiVersion: example.org/v1\nkind: Widget\nmetadata: {name: v%d}\n", i)
	}
	files["all.yaml"] = []byte(all.String())
	_, err = New(Options{}).Build(t.Context(), artifact.NewTree(files, nil), Spec{})
	if err == nil || !strings.Contains(err.Error(), "more than 2000 objects and bring their own OpenAPI document") {
		t.Errorf("one that cannot be taken apart: %v", err)
	}
}

const widgetSchema = `{"definitions": {"org.example.v1.Widget": {"type": "object",
  "x-kubernetes-group-version-kind": [{"group": "example.org", "kind": "Widget", "version": "v1"}],
  "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
    "spec": {"type": "object", "properties": {"items": {"type": "array", "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
      "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}}}}}}}}}`

// While a build works that cannot be interrupted, and one that has to run alone
// waits for it, others are built.
func TestLargeBuildsBlockNobody(t *testing.T) {
	long, err := gate.enter(t.Context(), way{whole: true})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		turn, err := gate.enter(ctx, way{alone: true})
		turn.leave()
		ended <- err
	}()
	small := func() {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			_, err := New(Options{}).Build(context.Background(), artifact.NewTree(monorepo(1), nil), Spec{Path: "apps/app000"})
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a small build waits for a large one")
		}
	}
	small()
	select {
	case err := <-ended:
		t.Errorf("one that has to run alone ran beside another: %v", err)
	default:
	}
	long.leave()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// Between two parts, all others have their turn.
	parts, err := gate.enter(t.Context(), way{parts: true})
	if err != nil {
		t.Fatal(err)
	}
	defer parts.leave()
	go func() {
		turn, err := gate.enter(ctx, way{alone: true})
		turn.leave()
		ended <- err
	}()
	for waiting := true; waiting; {
		select {
		case err := <-ended:
			waiting = false
			if err != nil {
				t.Error(err)
			}
		default:
			if err := parts.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}

	// One that waits for its turn stops waiting when its time is up.
	cancel()
	for range cap(gate.large) - 1 {
		more, err := gate.enter(t.Context(), way{parts: true})
		if err != nil {
			t.Fatal(err)
		}
		defer more.leave()
	}
	if turn, err := gate.enter(ctx, way{parts: true}); err == nil {
		turn.leave()
		t.Error("more large builds work at once than there is room for")
	}
}
