package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/internal/artifact"
)

func mustBuild(t testing.TB, e *Engine, tree *artifact.Tree, s Spec) *Result {
	t.Helper()
	r, err := e.Build(context.Background(), tree, s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A change costs the builds that read what changed, and no others.
func TestMonorepo(t *testing.T) {
	const n = 50
	tree, e := artifact.NewTree(monorepo(n), nil), New(Options{})
	for _, step := range []struct {
		name   string
		change map[string][]byte
		cached int
	}{
		{"first", nil, 0},
		{"nothing", nil, n},
		{"one app's patch", map[string][]byte{"apps/app007/patch.yaml": []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 99}\n")}, n - 1},
		{"files nobody reads", map[string][]byte{"README.md": []byte("hi"), "apps/app007/notes.txt": []byte("x")}, n},
		{"the shared base", map[string][]byte{"base/all.yaml": []byte(app("web", "")[0])}, 0},
		{"the shared base taken back", map[string][]byte{"base/all.yaml": []byte(strings.Join(app("web", "")[:4], "---\n"))}, n},
	} {
		tree = tree.With(step.change)
		cached := 0
		for i := range n {
			if mustBuild(t, e, tree, Spec{Path: fmt.Sprintf("apps/app%03d", i)}).Cached {
				cached++
			}
		}
		if cached != step.cached {
			t.Errorf("%s: %d of %d came from the cache, want %d", step.name, cached, n, step.cached)
		}
	}
}

// What a build found absent is part of what it read.
func TestAppearingFile(t *testing.T) {
	tree, e := artifact.NewTree(monorepo(1), nil), New(Options{})
	s := Spec{Path: "apps/app000"}
	mustBuild(t, e, tree, s)
	if _, err := e.Build(context.Background(), tree.With(map[string][]byte{"apps/app000/kustomization.yml": []byte("resources: []\n")}), s); err == nil {
		t.Error("a second kustomization file went unnoticed")
	}
	missing := Spec{Path: "apps/other"}
	if _, err := e.Build(context.Background(), tree, missing); !errors.Is(err, ErrPath) {
		t.Errorf("got %v, want ErrPath", err)
	}
	mustBuild(t, e, tree.With(map[string][]byte{"apps/other/a.yaml": []byte(app("a", "")[2])}), missing)
}

// Whatever is changed in a source: what the cache says is what a build says.
func TestCacheIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := generatedSource(rapid.IntRange(0, 59).Draw(rt, "seed"))
		spec := Spec{Path: s.dir}
		if rapid.Bool().Draw(rt, "generated kustomization") {
			spec.Path = "base/one"
			delete(s.files, "base/one/kustomization.yaml")
		}
		cached, names := New(Options{}), slices.Sorted(maps.Keys(s.files))
		tree := artifact.NewTree(s.files, map[string]string{"link": "over"})
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			got := outcomeText(cached.Build(context.Background(), tree, spec))
			if want := outcomeText(New(Options{}).Build(context.Background(), tree, spec)); got != want {
				rt.Fatalf("cached:\n%s\nbuilt:\n%s", got, want)
			}
			tree = tree.With(drawChange(rt, s, names))
		}
	})
}

func drawChange(rt *rapid.T, s source, names []string) map[string][]byte {
	p := rapid.SampledFrom(names).Draw(rt, "file")
	dir := p[:strings.LastIndex(p, "/")+1]
	switch rapid.IntRange(0, 6).Draw(rt, "kind of change") {
	case 0:
		return map[string][]byte{p: nil}
	case 1:
		return map[string][]byte{p: s.files[p]}
	case 2:
		return map[string][]byte{p: append(slices.Clone(s.files[p]), "# more\n"...)}
	case 3:
		return map[string][]byte{dir + "kustomization.yml": []byte("resources: []\n")}
	case 4:
		return map[string][]byte{dir + "new.yaml": []byte(app("new", "")[2])}
	case 5:
		return map[string][]byte{dir + "notes.txt": []byte("x")}
	}
	return map[string][]byte{p: []byte(strings.ReplaceAll(string(s.files[p]), "one0", "one9"))}
}

// Every field of a spec is part of the key.
func TestKey(t *testing.T) {
	specs := []Spec{
		{}, {Scope: "a"}, {Path: "a"}, {TargetNamespace: "a"}, {NamePrefix: "a"}, {NameSuffix: "a"},
		{CommonLabels: map[string]string{"a": "b"}}, {CommonAnnotations: map[string]string{"a": "b"}},
		{Components: []string{"a"}}, {IgnoreMissingComponents: true}, {BuildMetadata: []string{"a"}}, {Substitute: &Substitution{}},
		{Substitute: &Substitution{Strict: true}}, {Substitute: &Substitution{Always: true}},
		{Substitute: &Substitution{Variables: map[string]string{"a": "b"}}},
		{Substitute: &Substitution{Variables: map[string]string{"a": "c"}}},
	}
	seen := map[key]Spec{}
	for _, s := range specs {
		if other, there := seen[s.key(false)]; there {
			t.Errorf("%+v and %+v have one key", s, other)
		}
		seen[s.key(false)] = s
	}
}

// The cache stays within its bound, and drops what was not used for longest.
func TestCacheBound(t *testing.T) {
	const apps = 40
	tree := artifact.NewTree(monorepo(apps), nil)
	spec := func(i int) Spec { return Spec{Path: fmt.Sprintf("apps/app%03d", i)} }
	one := New(Options{})
	mustBuild(t, one, tree, spec(0))
	e := New(Options{CacheBytes: one.cache.used * 10})
	for i := range apps {
		mustBuild(t, e, tree, spec(i))
		mustBuild(t, e, tree, spec(0)) // stays in use
	}
	if e.cache.used > e.cache.max || e.cache.order.Len() != len(e.cache.keys) {
		t.Errorf("%d bytes in %d entries under %d keys, the bound is %d bytes", e.cache.used, e.cache.order.Len(), len(e.cache.keys), e.cache.max)
	}
	if !mustBuild(t, e, tree, spec(0)).Cached {
		t.Error("what was used last was dropped")
	}
	if mustBuild(t, e, tree, spec(1)).Cached {
		t.Error("what was not used for longest was kept")
	}
	none := New(Options{CacheBytes: -1})
	mustBuild(t, none, tree, spec(0))
	if mustBuild(t, none, tree, spec(0)).Cached {
		t.Error("a cache that is off kept a result")
	}
}

// A context that has ended is an error of the moment and not remembered.
func TestContext(t *testing.T) {
	tree, e := artifact.NewTree(monorepo(1), nil), New(Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Build(ctx, tree, Spec{Path: "apps/app000"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	out := e.build(ctx, tree, Spec{Path: "apps/app000"}, key{}, nil)
	if !errors.Is(out.err, context.Canceled) || out.lasting {
		t.Errorf("got %v, lasting %v", out.err, out.lasting)
	}
	mustBuild(t, e, tree, Spec{Path: "apps/app000"})
}

// A thousand Kustomizations of ten small objects fit into a few megabytes.
func TestCacheMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a thousand directories")
	}
	const n = 1000
	files := map[string][]byte{}
	for i := range n {
		for j := range 10 {
			files[fmt.Sprintf("apps/app%d/cm%d.yaml", i, j)] = []byte(manifest("ConfigMap", "v1", fmt.Sprintf("cm%d", j), "ns", fmt.Sprintf("data: {key: \"%d\", text: some text}\n", rand.Int())))
		}
	}
	tree := artifact.NewTree(files, nil)
	e := New(Options{})
	mustBuild(t, e, tree, Spec{Path: "apps/app0"}) // parse the schema
	before := heap()
	for i := range n {
		mustBuild(t, e, tree, Spec{Path: fmt.Sprintf("apps/app%d", i)})
	}
	used := heap() - before
	t.Logf("%d results: %.1f MB of heap, counted as %.1f MB", n, float64(used)/1e6, float64(e.cache.used)/1e6)
	if e.cache.order.Len() != n {
		t.Errorf("%d results are kept, want %d", e.cache.order.Len(), n)
	}
	if used > 15<<20 {
		t.Errorf("%d bytes are more than 15 MiB", used)
	}
	runtime.KeepAlive(tree)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
