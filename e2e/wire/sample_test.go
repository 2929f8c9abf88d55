package wire

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/api/duration"
)

const samples = "../../config/samples"

// separator stands between the documents of a file.
var separator = regexp.MustCompile(`(?m)^---$`)

// TestSamples reads the sample of every kind strictly as that kind. A sample starts with a sentence on what it does; after
// its object may come what that needs.
func TestSamples(t *testing.T) {
	for kind := range pairs {
		t.Run(kind, func(t *testing.T) {
			path := filepath.Join(samples, strings.ToLower(kind)+".yaml")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("every kind has a sample: %v", err)
			}
			if !strings.HasPrefix(string(data), "# ") {
				t.Errorf("%s does not start with a sentence on what it does", path)
			}
			documents := separator.Split(string(data), -1)
			if got := readSample(t, path, documents[0]); got != kind {
				t.Errorf("%s starts with a %s", path, got)
			}
			for _, document := range documents[1:] {
				readSample(t, path, document)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(samples, "*"))
	if err != nil || len(files) != len(pairs) {
		t.Errorf("got %d samples for %d kinds (%v)", len(files), len(pairs), err)
	}
}

// readSample reads one document strictly, as the type of its kind, and returns the kind.
func readSample(t *testing.T, path, document string) string {
	t.Helper()
	var about metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(document), &about); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	object := reflect.ValueOf(&corev1.Secret{})
	if about.Kind != "Secret" {
		p, ok := pairs[about.Kind]
		if !ok {
			t.Fatalf("%s: kind %q is not ours", path, about.Kind)
		}
		object = reflect.New(p.ours)
		if want := groupVersion(t, about.Kind); about.APIVersion != want {
			t.Errorf("%s: apiVersion %q, want %q", path, about.APIVersion, want)
		}
	}
	if err := yaml.UnmarshalStrict([]byte(document), object.Interface()); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	if err := duration.Check(object.Interface()); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return about.Kind
}

// groupVersion returns the API version of a kind, as its definition states it.
func groupVersion(t *testing.T, kind string) string {
	t.Helper()
	versions.once.Do(func() {
		versions.of = map[string]string{}
		for _, definition := range readDefinitions(t, filepath.Join(definitions, "*.yaml")) {
			spec := definition["spec"].(map[string]any)
			name := spec["names"].(map[string]any)["kind"].(string)
			versions.of[name] = spec["group"].(string) + "/" + spec["versions"].([]any)[0].(map[string]any)["name"].(string)
		}
	})
	if versions.of[kind] == "" {
		t.Fatalf("there is no definition of kind %s", kind)
	}
	return versions.of[kind]
}

// versions are those of the definitions, by kind: reading them takes a while.
var versions struct {
	once sync.Once
	of   map[string]string
}
