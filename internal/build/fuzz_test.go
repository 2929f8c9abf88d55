package build

import (
	"context"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/artifact"
)

// Whatever a source and a value hold, a build ends, in a result or in an error,
// and the same way when it is done again.
func FuzzBuild(f *testing.F) {
	f.Add([]byte("resources: [a.yaml]\n"), []byte(app("a", "")[0]), "x")
	f.Add([]byte("resources: [a.yaml]\nnamePrefix: p-\npatches: [{path: a.yaml}]\n"), []byte(app("a", "")[2]), "*x")
	f.Add([]byte("resources: [./a.yaml]\ntransformers: [a.yaml]\n"), []byte("apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: ${v}}\n"), "1")
	f.Add([]byte("configMapGenerator: [{name: a, behavior: merge, files: [a.yaml]}]\n"), []byte("a: &a [*a]\n"), "")
	f.Add([]byte("replacements: [{path: a.yaml}]\nresources: [a.yaml]\n"), []byte("apiVersion: v1\nkind: List\nitems: [{kind: ConfigMap, apiVersion: v1, metadata: {name: \"${v:1:-3}\"}}]"), "abc")
	f.Fuzz(func(t *testing.T, kustomization, manifest []byte, value string) {
		tree := artifact.NewTree(map[string][]byte{"kustomization.yaml": kustomization, "a.yaml": manifest}, nil)
		s := Spec{Substitute: &Substitution{Variables: map[string]string{"v": value}, Strict: true}}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		first := outcomeText(New(Options{}).Build(ctx, tree, s))
		if again := outcomeText(New(Options{}).Build(ctx, tree, s)); again != first {
			t.Errorf("once\n%s\nthen\n%s", first, again)
		}
	})
}
