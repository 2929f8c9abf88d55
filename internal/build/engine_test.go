package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/weirhq/weir/internal/artifact"
)

// ownSchema is a source whose base says that the parts of a Widget are merged by
// name; plainWidget is the same patch without it, which replaces the list.
func widget(schema string) map[string][]byte {
	return map[string][]byte{
		"app/kustomization.yaml":  []byte("resources: [../base]\npatches:\n- patch: |\n    {apiVersion: example.org/v1, kind: Widget, metadata: {name: w}, parts: [{name: b, size: 2}]}\n"),
		"base/kustomization.yaml": []byte("resources: [w.yaml]\n" + schema),
		"base/w.yaml":             []byte("{apiVersion: example.org/v1, kind: Widget, metadata: {name: w}, parts: [{name: a, size: 1}]}"),
		"base/schema.json": []byte(`{"definitions": {"org.example.v1.Widget": {"type": "object",
			"x-kubernetes-group-version-kind": [{"group": "example.org", "version": "v1", "kind": "Widget"}],
			"properties": {"parts": {"type": "array", "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
				"items": {"type": "object", "properties": {"name": {"type": "string"}}}}}}}}`),
	}
}

// A build that brings its own OpenAPI document changes no other build, however
// they overlap, and leaves the process as it was.
func TestOwnSchemaIsIsolated(t *testing.T) {
	own := artifact.NewTree(widget("openapi: {path: schema.json}\n"), nil)
	version := artifact.NewTree(widget("openapi: {version: v1.21.2}\n"), nil)
	broken := widget("openapi: {path: schema.json}\n")
	broken["base/schema.json"] = []byte(`{"definitions": 7}`)
	plain := artifact.NewTree(widget(""), nil)
	e, s := New(Options{CacheBytes: -1}), Spec{Path: "app"}
	wantPlain := outcomeText(e.Build(context.Background(), plain, s))
	wantOwn := outcomeText(e.Build(context.Background(), own, s))
	if strings.Contains(wantPlain, "name: a") || !strings.Contains(wantOwn, "name: a") {
		t.Fatalf("the schema makes no difference:\n%s\n%s", wantPlain, wantOwn)
	}
	before := schemaFacts()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				if diff := cmp.Diff(wantPlain, outcomeText(e.Build(context.Background(), plain, s))); diff != "" {
					t.Errorf("plain build: %s", diff)
				}
			}
		})
		wg.Go(func() {
			for _, tree := range []*artifact.Tree{own, version, artifact.NewTree(broken, nil)} {
				got := outcomeText(e.Build(context.Background(), tree, s))
				if tree == own && got != wantOwn {
					t.Errorf("own schema: %s", cmp.Diff(wantOwn, got))
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(before, schemaFacts()); diff != "" {
		t.Errorf("the schema of the process changed: %s", diff)
	}
}

// schemaFacts is what builds ask of the OpenAPI document, for every built-in kind.
func schemaFacts() map[string]string {
	gate.lockShared()
	defer gate.RUnlock()
	facts := map[string]string{"version": openapi.GetSchemaVersion()}
	for name, def := range openapi.Schema().Definitions {
		kinds, _ := def.Extensions["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			m, _ := k.(map[string]any)
			tm := kyaml.TypeMeta{APIVersion: strings.TrimPrefix(fmt.Sprintf("%v/%v", m["group"], m["version"]), "/"), Kind: fmt.Sprint(m["kind"])}
			namespaced, known := openapi.IsNamespaceScoped(tm)
			facts[tm.APIVersion+" "+tm.Kind] = fmt.Sprint(namespaced, known, openapi.SchemaForResourceType(tm) != nil)
		}
		facts[name] = fmt.Sprint(len(def.Properties))
	}
	return facts
}

// Builds at the same time, of equal and of different things, are as good as one
// after another. The race detector looks at the rest.
func TestConcurrentBuilds(t *testing.T) {
	e := New(Options{})
	var want [8]string
	var trees [8]*artifact.Tree
	for i := range want {
		s := generatedSource(i)
		trees[i] = artifact.NewTree(s.files, nil)
		want[i] = outcomeText(New(Options{}).Build(context.Background(), trees[i], Spec{Path: s.dir}))
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range trees {
				i = (i + g/2) % len(trees)
				if got := outcomeText(e.Build(context.Background(), trees[i], Spec{Path: "over/prod"})); got != want[i] {
					t.Errorf("source %d: %s", i, cmp.Diff(want[i], got))
				}
			}
		})
	}
	wg.Wait()
}

// Equal builds at one time are one build; one whose caller went away is taken
// over by another.
func TestEqualBuildsAreMerged(t *testing.T) {
	tree, e := artifact.NewTree(monorepo(1), nil), New(Options{CacheBytes: -1})
	gate.lockShared() // parses the schema, if nobody has
	gate.RUnlock()
	gate.Lock() // builds wait here
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 5)
	build := func(ctx context.Context) {
		_, err := e.Build(ctx, tree, Spec{Path: "apps/app000"})
		results <- err
	}
	go build(ctx)
	for range 4 {
		go build(context.Background())
	}
	cancel()
	gate.Unlock()
	cancelled := 0
	for range 5 {
		switch err := <-results; {
		case errors.Is(err, context.Canceled):
			cancelled++
		case err != nil:
			t.Error(err)
		}
	}
	if cancelled > 1 {
		t.Errorf("%d builds ended with the context of one", cancelled)
	}
}

// Without the guard, kustomize itself must find no way out behind Confine; and
// the test must be able to see one.
func TestConfine(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, app("remote", "")[2])
	}))
	defer server.Close()
	bin := t.TempDir()
	mark := filepath.Join(bin, "ran")
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\n: > "+mark+"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func() {
		fs := filesys.MakeFsInMemory()
		for _, ref := range []string{server.URL + "/a.yaml", "https://git.example.org/org/repo//base?ref=v1&timeout=2s"} {
			if err := fs.WriteFile("/kustomization.yaml", []byte("resources: ['"+ref+"']\n")); err != nil {
				t.Fatal(err)
			}
			gate.lockShared()
			_, _ = krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, "/")
			gate.RUnlock()
		}
	}
	ran := func() bool {
		_, err := os.Stat(mark)
		return err == nil
	}

	t.Setenv("PATH", bin)
	release := Confine()
	run()
	if asked.Load() != 0 || ran() {
		t.Errorf("behind Confine: %d requests, git run: %v", asked.Load(), ran())
	}
	release()
	confined := http.DefaultTransport // by TestMain
	http.DefaultTransport = &http.Transport{}
	defer func() { http.DefaultTransport = confined }()
	run()
	if asked.Load() == 0 || !ran() {
		t.Errorf("without Confine: %d requests, git run: %v; the test sees nothing", asked.Load(), ran())
	}
}

// A thousand levels of nesting, and many expressions, cost an error at most.
func TestHostileText(t *testing.T) {
	deep := strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000)
	many := manifest("ConfigMap", "v1", "a", "", "data:\n  k: "+strings.Repeat("${a}", maxExpressions+1)+"\n")
	grow := manifest("ConfigMap", "v1", "a", "", "data:\n  k: ${a//x/${a//x/${a}}}\n")
	match := manifest("ConfigMap", "v1", "a", "", "data:\n  k: ${a##*y*y*y}\n")
	list := "{apiVersion: v1, kind: List, items: [" + strings.Repeat("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, ", maxObjects+1) + "]}"
	sub := &Substitution{Variables: map[string]string{"a": strings.Repeat("x", 100_000)}}
	multiply := map[string][]byte{"l0/a.yaml": []byte(app("a", "")[2]), "l0/kustomization.yaml": []byte("resources: [a.yaml]\n")}
	for i := 1; i < 16; i++ {
		multiply[fmt.Sprintf("l%d/p/kustomization.yaml", i)] = fmt.Appendf(nil, "namePrefix: p\nresources: [../../l%d]\n", i-1)
		multiply[fmt.Sprintf("l%d/q/kustomization.yaml", i)] = fmt.Appendf(nil, "namePrefix: q\nresources: [../../l%d]\n", i-1)
		multiply[fmt.Sprintf("l%d/kustomization.yaml", i)] = []byte("resources: [p, q]\n")
	}
	for name, tc := range map[string]struct {
		files map[string][]byte
		spec  Spec
		want  error // nil: any
	}{
		"deep":        {files: map[string][]byte{"a.yaml": []byte("a: " + deep)}},
		"expressions": {files: map[string][]byte{"a.yaml": []byte(many)}, spec: Spec{Substitute: sub}, want: ErrTooLarge},
		"growth":      {files: map[string][]byte{"a.yaml": []byte(grow)}, spec: Spec{Substitute: sub}, want: ErrTooLarge},
		"patterns":    {files: map[string][]byte{"a.yaml": []byte(match)}, spec: Spec{Substitute: sub}, want: ErrTooLarge},
		"multiplied":  {files: multiply, spec: Spec{Path: "l15"}, want: ErrTooLarge},
		"list":        {files: map[string][]byte{"a.yaml": []byte(list)}, want: ErrTooLarge},
		"documents":   {files: map[string][]byte{"a.yaml": []byte(strings.Repeat("---\n"+app("a", "")[2], maxObjects+1))}, want: ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{}).Build(context.Background(), artifact.NewTree(tc.files, nil), tc.spec)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	tree := artifact.NewTree(monorepo(1), nil)
	for name, size := range map[string]int64{"new": -1, "cached": 0} {
		b.Run(name, func(b *testing.B) {
			e := New(Options{CacheBytes: size})
			mustBuild(b, e, tree, Spec{Path: "apps/app000"})
			b.ReportAllocs()
			for b.Loop() {
				mustBuild(b, e, tree, Spec{Path: "apps/app000"})
			}
		})
	}
}
