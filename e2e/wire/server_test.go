package wire

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var addToScheme = []func(*runtime.Scheme) error{
	imagev1.AddToScheme, kustomizev1.AddToScheme, notificationv1.AddToScheme, notificationv1beta3.AddToScheme, sourcev1.AddToScheme,
}

// TestSamplesAccepted offers every sample to a real API server, which checks it against the definitions.
func TestSamplesAccepted(t *testing.T) {
	c := client.WithFieldValidation(testenv.Client(t, addToScheme...), client.FieldValidation("Strict"))
	paths, err := filepath.Glob(filepath.Join(samples, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples (%v)", err)
	}
	for _, path := range paths {
		for _, object := range readObjects(t, path) {
			if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestUnusableDurationListed stores, for every kind that has an interval, an object whose interval passes the schema and
// cannot be used. Listing must go on, and say which field it is.
func TestUnusableDurationListed(t *testing.T) {
	c := testenv.Client(t, addToScheme...)
	namespace := testenv.Namespace(t)
	tried := 0
	for kind := range pairs {
		object := readObjects(t, filepath.Join(samples, strings.ToLower(kind)+".yaml"))[0]
		if _, ok, _ := unstructured.NestedString(object.Object, "spec", "interval"); !ok {
			continue
		}
		tried++
		object.SetNamespace(namespace)
		setNested(t, object, "9999999999h", "spec", "interval")
		if err := c.Create(t.Context(), object); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		testListed(t, c, object)
	}
	if tried < 8 {
		t.Errorf("only %d kinds have an interval", tried)
	}
}

// testListed lists the kind of object into our types and looks for object with its unusable interval.
func testListed(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	kind := object.GroupVersionKind()
	empty, err := c.Scheme().New(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.List(t.Context(), empty.(client.ObjectList), client.InNamespace(object.GetNamespace())); err != nil {
		t.Errorf("listing %s: %v", kind.Kind, err)
	}
	typed, err := c.Scheme().New(kind)
	if err != nil {
		t.Fatal(err)
	}
	got := typed.(client.Object)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), got); err != nil {
		t.Fatalf("reading %s: %v", kind.Kind, err)
	}
	if err := duration.Check(got); err == nil || !strings.HasPrefix(err.Error(), "spec.interval: ") {
		t.Errorf("%s: Check says %v", kind.Kind, err)
	}

	// Writing something else must not change the text, nor be refused for it.
	got.SetLabels(map[string]string{"touched": "true"})
	if err := c.Update(t.Context(), got); err != nil {
		t.Errorf("writing %s: %v", kind.Kind, err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatalf("reading %s: %v", kind.Kind, err)
	}
	if text, _, _ := unstructured.NestedString(object.Object, "spec", "interval"); text != "9999999999h" || object.GetLabels()["touched"] != "true" {
		t.Errorf("%s: the interval became %q", kind.Kind, text)
	}
}

// TestUnusableStatusListed writes, for every kind that has a status, values into it that the schema admits and that Go's
// types refuse. Listing must go on, and keep what makes sense next to them.
func TestUnusableStatusListed(t *testing.T) {
	c := testenv.Client(t, addToScheme...)
	namespace := testenv.Namespace(t)
	tried := 0
	for kind, p := range pairs {
		if _, ok := p.ours.FieldByName("Status"); !ok {
			continue
		}
		tried++
		object := readObjects(t, filepath.Join(samples, strings.ToLower(kind)+".yaml"))[0]
		object.SetNamespace(namespace)
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		object.Object["status"] = map[string]any{"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": "kept", "lastTransitionTime": "2024-01-01t00:00:00z",
		}}}
		if err := c.Status().Update(t.Context(), object); err != nil {
			t.Fatalf("%s: the API server refuses what this test is about: %v", kind, err)
		}
		got := reflect.New(p.ours)
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), got.Interface().(client.Object)); err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		conditions := got.Interface().(interface{ GetConditions() []metav1.Condition }).GetConditions()
		if len(conditions) != 1 || conditions[0].Message != "kept" || conditions[0].LastTransitionTime.Unix() != 0 {
			t.Errorf("%s: got the conditions %v", kind, conditions)
		}
	}
	if tried != 11 {
		t.Errorf("%d kinds have a status, want 11", tried)
	}
}

// readObjects reads the documents of a file.
func readObjects(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, document := range separator.Split(string(data), -1) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		objects = append(objects, object)
	}
	return objects
}

func setNested(t *testing.T, object *unstructured.Unstructured, value string, fields ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(object.Object, value, fields...); err != nil {
		t.Fatal(err)
	}
}
