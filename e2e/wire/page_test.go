package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pages = "../../docs/kinds"

// documented are the kinds that this toolkit acts on, and so describes.
var documented = []string{
	"Alert", "GitRepository", "ImagePolicy", "ImageRepository", "ImageUpdateAutomation", "Kustomization", "Provider", "Receiver",
}

// TestPages holds the page of every kind to the definition and to the sample: it names every field of the spec and of the
// status, and shows the sample as it is.
func TestPages(t *testing.T) {
	fields := map[string][]string{}
	for _, definition := range readDefinitions(t, filepath.Join(definitions, "*.yaml")) {
		spec := definition["spec"].(map[string]any)
		kind := spec["names"].(map[string]any)["kind"].(string)
		schema := spec["versions"].([]any)[0].(map[string]any)["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
		for _, part := range []string{"spec", "status"} {
			below, _ := schema["properties"].(map[string]any)[part].(map[string]any)
			properties, _ := below["properties"].(map[string]any)
			for name := range properties {
				fields[kind] = append(fields[kind], name)
			}
		}
	}
	for _, kind := range documented {
		name := strings.ToLower(kind)
		page := readText(t, filepath.Join(pages, name+".md"))
		if !strings.HasPrefix(page, "# "+kind+"\n") {
			t.Errorf("the page of %s does not start with its name", kind)
		}
		if !strings.Contains(page, "```yaml\n"+readText(t, filepath.Join(samples, name+".yaml"))+"```\n") {
			t.Errorf("the page of %s does not show its sample as it is", kind)
		}
		if len(fields[kind]) < 8 {
			t.Errorf("%s has only the fields %q", kind, fields[kind])
		}
		for _, field := range fields[kind] {
			if !strings.Contains(page, "| `"+field+"`") && !strings.Contains(page, "| `"+field+"[]`") {
				t.Errorf("the page of %s does not tell of the field %s", kind, field)
			}
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
