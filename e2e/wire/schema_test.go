package wire

import (
	"os"
	"path/filepath"
	"strings"
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
		if want, got := substitution(definition), substitution(ours[name]); want != got {
			t.Errorf("%s: the annotation %s is %v, want %v", name, substituteAnnotation, got, want)
		}
	}
	for name := range ours {
		if theirs[name] == nil {
			t.Errorf("%s is not among the references", name)
		}
	}
}

// TestDefinitions makes sure that no definition is changed when a Kustomization with variables applies it, and that
// every kind takes part in the other tests.
func TestDefinitions(t *testing.T) {
	ours := readDefinitions(t, filepath.Join(definitions, "*.yaml"))
	if len(ours) != len(pairs) {
		t.Errorf("got %d definitions, want %d", len(ours), len(pairs))
	}
	for name, definition := range ours {
		if text := string(encode(t, definition)); substitution(definition) != "disabled" && strings.Contains(text, "${") {
			t.Errorf("%s holds a variable and lacks the annotation %s: disabled", name, substituteAnnotation)
		}
		kind := definition["spec"].(map[string]any)["names"].(map[string]any)["kind"].(string)
		if _, ok := pairs[kind]; !ok {
			t.Errorf("%s: nothing compares the types of kind %s", name, kind)
		}
	}
}

// substituteAnnotation, with the value "disabled", keeps a Kustomization from replacing variables in an object.
const substituteAnnotation = "kustomize.toolkit.fluxcd.io/substitute"

// substitution returns the value of the substituteAnnotation, nil when there is none.
func substitution(definition map[string]any) any {
	annotations, _ := definition["metadata"].(map[string]any)["annotations"].(map[string]any)
	return annotations[substituteAnnotation]
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
