package build

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/internal/artifact"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScenarios builds each testdata/*.txtar: the files below source/ with the
// fields of spec.yaml. The file links holds lines "path -> target". What comes
// out is compared with want.yaml, or with want.err when it fails.
func TestScenarios(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { runScenario(t, name) })
	}
}

func runScenario(t *testing.T, name string) {
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	tree, spec := scenario(t, ar)
	e := New(Options{})
	got := outcomeText(e.Build(context.Background(), tree, spec))
	if again := outcomeText(e.Build(context.Background(), tree, spec)); again != got {
		t.Errorf("from the cache:\n%s", cmp.Diff(got, again))
	}
	if kindOf(got) == "want.err" && strings.Contains(got, "hunter") {
		t.Errorf("the message holds a secret: %s", got)
	}
	if i := len(ar.Files) - 1; *update {
		ar.Files[i] = txtar.File{Name: kindOf(got), Data: []byte(got)}
		if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := ar.Files[len(ar.Files)-1]
	if want.Name != kindOf(got) || string(want.Data) != got {
		t.Errorf("(-%s +%s)\n%s", want.Name, kindOf(got), cmp.Diff(string(want.Data), got))
	}
}

func kindOf(out string) string {
	if strings.HasPrefix(out, "error: ") {
		return "want.err"
	}
	return "want.yaml"
}

func scenario(t *testing.T, ar *txtar.Archive) (*artifact.Tree, Spec) {
	t.Helper()
	files, links, spec := map[string][]byte{}, map[string]string{}, Spec{}
	for _, f := range ar.Files {
		switch p, isSource := strings.CutPrefix(f.Name, "source/"); {
		case isSource:
			files[p] = f.Data
		case f.Name == "links":
			for line := range strings.Lines(string(f.Data)) {
				from, to, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				links[from] = to
			}
		case f.Name == "spec.yaml":
			if err := yaml.UnmarshalStrict(f.Data, &spec); err != nil {
				t.Fatal(err)
			}
		}
	}
	return artifact.NewTree(files, links), spec
}

func outcomeText(r *Result, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return asYAML(r)
}

func asYAML(r *Result) string {
	var docs [][]byte
	for _, o := range r.Objects {
		y, err := yaml.JSONToYAML(o.JSON)
		if err != nil {
			return err.Error()
		}
		docs = append(docs, y)
	}
	if len(docs) == 0 {
		return "# nothing\n"
	}
	return string(bytes.Join(slices.Clip(docs), []byte("---\n")))
}
