// Package api_test checks what holds for the types of all kinds.
package api_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"

	"github.com/weirhq/weir/api/duration"
)

// reconciled is what the reconcile loop needs of a kind.
type reconciled interface {
	runtime.Object
	metav1.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
	GetObservedGeneration() int64
	SetObservedGeneration(int64)
	GetLastHandledReconcileAt() string
	SetLastHandledReconcileAt(string)
	GetInterval() time.Duration
	IsSuspended() bool
}

// source is what a consumer of artifacts needs of a kind.
type source interface {
	GetArtifact() *meta.Artifact
}

var (
	reconciledKinds = []string{
		"Bucket", "GitRepository", "HelmChart", "HelmRepository", "ImagePolicy", "ImageRepository", "ImageUpdateAutomation",
		"Kustomization", "OCIRepository", "Receiver",
	}
	staticKinds = []string{"Alert", "ExternalArtifact", "Provider"}
	sourceKinds = []string{"Bucket", "ExternalArtifact", "GitRepository", "HelmChart", "HelmRepository", "OCIRepository"}
)

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	add := []func(*runtime.Scheme) error{
		imagev1.AddToScheme, kustomizev1.AddToScheme, notificationv1.AddToScheme, notificationv1beta3.AddToScheme, sourcev1.AddToScheme,
	}
	for _, f := range add {
		if err := f(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// kinds returns a new object of every kind, by the name of the kind.
func kinds(t *testing.T) map[string]runtime.Object {
	t.Helper()
	objects := map[string]runtime.Object{}
	scheme := newScheme(t)
	for gvk := range scheme.AllKnownTypes() {
		object, err := scheme.New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := object.(metav1.Object); ok {
			objects[gvk.Kind] = object
		}
	}
	return objects
}

func TestScheme(t *testing.T) {
	scheme := newScheme(t)
	want := map[string][]string{
		"source.toolkit.fluxcd.io/v1":            {"Bucket", "ExternalArtifact", "GitRepository", "HelmChart", "HelmRepository", "OCIRepository"},
		"kustomize.toolkit.fluxcd.io/v1":         {"Kustomization"},
		"notification.toolkit.fluxcd.io/v1":      {"Receiver"},
		"notification.toolkit.fluxcd.io/v1beta3": {"Alert", "Provider"},
		"image.toolkit.fluxcd.io/v1":             {"ImagePolicy", "ImageRepository", "ImageUpdateAutomation"},
	}
	for groupVersion, kinds := range want {
		gv, err := schema.ParseGroupVersion(groupVersion)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for kind, typ := range scheme.KnownTypes(gv) {
			if _, ok := reflect.New(typ).Interface().(metav1.Object); !ok {
				continue
			}
			got = append(got, kind)
			if !scheme.Recognizes(gv.WithKind(kind + "List")) {
				t.Errorf("%s: there is no list of %s", groupVersion, kind)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(kinds, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", groupVersion, diff)
		}
	}
}

func TestAccessors(t *testing.T) {
	objects := kinds(t)
	if got, want := len(objects), len(reconciledKinds)+len(staticKinds); got != want {
		t.Errorf("got %d kinds, want %d", got, want)
	}
	for _, kind := range staticKinds {
		if _, ok := objects[kind].(reconciled); ok {
			t.Errorf("%s: nothing reconciles it, and yet it can be", kind)
		}
	}
	for _, kind := range reconciledKinds {
		t.Run(kind, func(t *testing.T) {
			object, ok := objects[kind].(reconciled)
			if !ok {
				t.Fatalf("%T lacks accessors", objects[kind])
			}
			testAccessors(t, object)
		})
	}
}

// testAccessors compares the accessors with the fields that they stand for.
func testAccessors(t *testing.T, object reconciled) {
	spec, status := reflect.ValueOf(object).Elem().FieldByName("Spec"), reflect.ValueOf(object).Elem().FieldByName("Status")

	conditions := []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue}}
	object.SetConditions(conditions)
	object.SetObservedGeneration(7)
	object.SetLastHandledReconcileAt("now")
	if diff := cmp.Diff(conditions, status.FieldByName("Conditions").Interface()); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if got := status.FieldByName("ObservedGeneration").Int(); got != 7 {
		t.Errorf("observedGeneration: got %d", got)
	}
	if got := status.FieldByName("LastHandledReconcileAt").String(); got != "now" {
		t.Errorf("lastHandledReconcileAt: got %q", got)
	}
	if diff := cmp.Diff(conditions, object.GetConditions()); diff != "" {
		t.Errorf("GetConditions (-want +got):\n%s", diff)
	}
	if got := object.GetObservedGeneration(); got != 7 {
		t.Errorf("GetObservedGeneration: got %d", got)
	}
	if got := object.GetLastHandledReconcileAt(); got != "now" {
		t.Errorf("GetLastHandledReconcileAt: got %q", got)
	}

	if object.IsSuspended() {
		t.Error("suspended before it was")
	}
	spec.FieldByName("Suspend").SetBool(true)
	if !object.IsSuspended() {
		t.Error("not suspended after it was")
	}

	if policy, ok := object.(*imagev1.ImagePolicy); ok {
		policy.Spec.DigestReflectionPolicy = imagev1.ReflectAlways
	}
	hour := duration.New(time.Hour)
	if interval := spec.FieldByName("Interval"); interval.Kind() == reflect.Pointer {
		interval.Set(reflect.ValueOf(&hour))
	} else {
		interval.Set(reflect.ValueOf(hour))
	}
	if got := object.GetInterval(); got != time.Hour {
		t.Errorf("GetInterval: got %v", got)
	}
}

func TestArtifacts(t *testing.T) {
	for kind, object := range kinds(t) {
		src, ok := object.(source)
		if want := slices.Contains(sourceKinds, kind); ok != want {
			t.Errorf("%s: has an artifact: %v, want %v", kind, ok, want)
		}
		if !ok {
			continue
		}
		if got := src.GetArtifact(); got != nil {
			t.Errorf("%s: got %v before there is one", kind, got)
		}
		artifact := &meta.Artifact{Revision: "main@sha1:0"}
		reflect.ValueOf(object).Elem().FieldByName("Status").FieldByName("Artifact").Set(reflect.ValueOf(artifact))
		if got := src.GetArtifact(); got != artifact {
			t.Errorf("%s: got %v", kind, got)
		}
	}
}

func TestDefaultIntervals(t *testing.T) {
	ten := duration.New(0)
	tests := map[string]struct {
		object reconciled
		want   time.Duration
	}{
		"HelmRepository":                   {&sourcev1.HelmRepository{}, time.Minute},
		"HelmRepository of type oci":       {&sourcev1.HelmRepository{Spec: sourcev1.HelmRepositorySpec{Type: "oci", Interval: duration.New(time.Hour)}}, 0},
		"Receiver":                         {&notificationv1.Receiver{}, 10 * time.Minute},
		"ImagePolicy":                      {&imagev1.ImagePolicy{}, 0},
		"ImagePolicy, always, no interval": {&imagev1.ImagePolicy{Spec: imagev1.ImagePolicySpec{DigestReflectionPolicy: imagev1.ReflectAlways}}, 10 * time.Minute},
		"ImagePolicy, always, zero":        {&imagev1.ImagePolicy{Spec: imagev1.ImagePolicySpec{DigestReflectionPolicy: imagev1.ReflectAlways, Interval: &ten}}, 10 * time.Minute},
		"GitRepository":                    {&sourcev1.GitRepository{}, 0},
	}
	for name, tt := range tests {
		if got := tt.object.GetInterval(); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// TestUnusableDuration makes sure that Check finds every duration in the spec of every kind, also after a deep copy.
func TestUnusableDuration(t *testing.T) {
	bad := duration.Duration{Raw: `"9999999999h"`}
	found := 0
	for kind, object := range kinds(t) {
		spec := reflect.ValueOf(object).Elem().FieldByName("Spec")
		for i := range spec.NumField() {
			field := spec.Field(i)
			switch field.Interface().(type) {
			case duration.Duration:
				field.Set(reflect.ValueOf(bad))
			case *duration.Duration:
				field.Set(reflect.ValueOf(&bad))
			default:
				continue
			}
			found++
			if duration.Check(object.DeepCopyObject()) == nil {
				t.Errorf("%s: Check does not see spec.%s", kind, spec.Type().Field(i).Name)
			}
			field.SetZero()
		}
		if err := duration.Check(object); err != nil {
			t.Errorf("%s without a bad duration: %v", kind, err)
		}
	}
	if found != 19 {
		t.Errorf("found %d durations, want 19", found)
	}
}
