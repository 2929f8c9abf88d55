package wire

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const (
	definitions = "../../config/crd/bases"

	// references is where the reference schemas are, when they are at hand: next to the repository, not in it.
	references = "../../../*/wire/crds"
)

// TestSchemas compares the definitions with the reference schemas, descriptions aside.
func TestSchemas(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(references, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skipf("no reference schemas at %s", references)
	}
	ours := readDefinitions(t, filepath.Join(definitions, "*.yaml"))
	theirs := readDefinitions(t, filepath.Join(references, "*.yaml"))
	for name, definition := range theirs {
		if ours[name] == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		want, got := withoutDescriptions(definition["spec"], false), withoutDescriptions(ours[name]["spec"], false)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-reference +ours):\n%s", name, diff)
		}
	}
	for name := range ours {
		if theirs[name] == nil {
			t.Errorf("%s is not among the references", name)
		}
	}
}

// TestDefinitions holds every definition to what an installation relies on besides the schema.
func TestDefinitions(t *testing.T) {
	ours := readDefinitions(t, filepath.Join(definitions, "*.yaml"))
	if len(ours) != len(pairs) {
		t.Errorf("got %d definitions, want %d", len(ours), len(pairs))
	}
	for name, definition := range ours {
		// Without it a Kustomization with postBuild would take the dollar signs of the schema for variables.
		const annotation = "kustomize.toolkit.fluxcd.io/substitute"
		annotations, _ := definition["metadata"].(map[string]any)["annotations"].(map[string]any)
		if annotations[annotation] != "disabled" {
			t.Errorf("%s lacks the annotation %s: disabled", name, annotation)
		}
		kind := definition["spec"].(map[string]any)["names"].(map[string]any)["kind"].(string)
		if _, ok := pairs[kind]; !ok {
			t.Errorf("%s: nothing compares the types of kind %s", name, kind)
		}
	}
}

// readDefinitions reads the definitions that match pattern, by their name.
func readDefinitions(t *testing.T, pattern string) map[string]map[string]any {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no definitions at %s (%v)", pattern, err)
	}
	byName := map[string]map[string]any{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var definition map[string]any
		if err := yaml.Unmarshal(data, &definition); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		byName[definition["metadata"].(map[string]any)["name"].(string)] = definition
	}
	return byName
}

// withoutDescriptions returns a copy of a schema without descriptions. The keys of properties are names of fields, of
// which one may well be called "description".
func withoutDescriptions(value any, properties bool) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, below := range v {
			if _, text := below.(string); text && key == "description" && !properties {
				continue
			}
			out[key] = withoutDescriptions(below, key == "properties" && !properties)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutDescriptions(v[i], false)
		}
		return out
	}
	return value
}
