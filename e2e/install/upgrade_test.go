package install

import (
	"encoding/json"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/toolkit"
)

// upgrade does what `kubectl apply --server-side` does, which forces nothing: if
// something on the cluster has taken a field of ours, an upgrade fails.
func upgrade(t *testing.T, c client.Client, version string) {
	t.Helper()
	for _, obj := range renderWith(t, "default", manifests.Options{Version: version}) {
		data, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Patch(t.Context(), obj, client.RawPatch(types.ApplyPatchType, data), client.FieldOwner("install"), client.FieldValidation("Strict"))
		if err != nil {
			t.Errorf("%s %q: %v", obj.GetKind(), obj.GetName(), err)
		}
	}
}

// versions returns the resource version of each object of an installation that
// says nothing of status.
func versions(t *testing.T, c client.Client) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, obj := range render(t, "default") {
		if k := obj.GetKind(); k == "Deployment" || k == "ResourceQuota" || k == "CustomResourceDefinition" {
			continue // controllers of Kubernetes write their status
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(obj.GroupVersionKind())
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), live); err != nil {
			t.Fatal(err)
		}
		out[obj.GetKind()+"/"+obj.GetName()] = live.GetResourceVersion()
	}
	return out
}

// A newer version goes over an older one that works, and back: pods get the new
// image, objects stay what they are, and doing it twice does nothing.
func TestUpgrade(t *testing.T) {
	s := newStage(t, map[string]string{"app/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {value: one}\n"})
	k := &kustomizev1.Kustomization{ObjectMeta: s.meta("app"), Spec: kustomizev1.KustomizationSpec{
		Interval: duration.New(never), Prune: true, Path: "./app", TargetNamespace: s.ns,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
	}}
	s.create(k)
	s.ready(k)
	before := k.DeepCopy()
	for _, version := range []string{"v0.2.0", "v0.1.0"} {
		upgrade(t, s.Client, version)
		for _, name := range toolkit.All {
			eventually(t, fmt.Sprintf("%s %s is available", name, version), func() string {
				d := &appsv1.Deployment{}
				if err := s.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
					return err.Error()
				}
				image := d.Spec.Template.Spec.Containers[0].Image
				if image != manifests.Registry+"/"+name+":"+version || d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != 1 || d.Status.AvailableReplicas != 1 {
					return fmt.Sprintf("%s: %+v", image, d.Status)
				}
				return ""
			})
		}
		was := versions(t, s.Client)
		upgrade(t, s.Client, version)
		for name, version := range versions(t, s.Client) {
			if was[name] != version {
				t.Errorf("the same once more has written %s", name)
			}
		}
	}
	s.ready(k)
	if k.UID != before.UID || k.Generation != before.Generation || k.Status.LastAppliedRevision != before.Status.LastAppliedRevision {
		t.Errorf("the Kustomization was %+v and is %+v", before, k)
	}
	s.value("one")
	crds := &unstructured.UnstructuredList{}
	crds.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	if err := s.List(t.Context(), crds, client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}); err != nil {
		t.Fatal(err)
	}
	if len(crds.Items) < 13 {
		t.Errorf("%d definitions are labelled", len(crds.Items))
	}
	for _, crd := range crds.Items {
		stored, _, err := unstructured.NestedStringSlice(crd.Object, "status", "storedVersions")
		if err != nil || len(stored) != 1 {
			t.Errorf("%s: versions %v are stored (%v): `flux check` would warn", crd.GetName(), stored, err)
		}
	}
}
