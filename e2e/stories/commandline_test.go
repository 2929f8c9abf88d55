package stories

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

// What the flux command line writes and reads when it lists, reconciles,
// suspends and resumes, step by step with the library by which it decides.
func TestFluxCommandLine(t *testing.T) {
	s := begin(t)
	repo := s.repository(never, map[string]string{"app/a.yaml": configMap("a", "one")})
	s.ready(repo)
	k := s.kustomization(never, nil)
	s.ready(k)

	// flux reconcile kustomization app --with-source
	hash := s.commit("Change a", map[string]string{"app/a.yaml": configMap("a", "two")})
	s.request(repo, func() string { return repo.Status.LastHandledReconcileAt })
	s.request(k, func() string { return k.Status.LastHandledReconcileAt })
	if want := "main@sha1:" + hash; k.Status.LastAppliedRevision != want || repo.Status.Artifact.Revision != want {
		t.Errorf("after reconciling, the source is at %s and the Kustomization at %s, want %s", repo.Status.Artifact.Revision, k.Status.LastAppliedRevision, want)
	}
	s.value("a", "two")

	// flux suspend kustomization app: a commit passes by; the other
	// Kustomization shows when it would have been applied.
	s.suspend(k, true)
	other := &kustomizev1.Kustomization{ObjectMeta: s.meta("other"), Spec: *k.Spec.DeepCopy()}
	other.Spec.Suspend, other.Spec.Path, other.Spec.NamePrefix = false, "./app", "other-"
	s.create(other)
	s.ready(other)
	hash = s.commit("Change a again", map[string]string{"app/a.yaml": configMap("a", "three")})
	s.request(repo, func() string { return repo.Status.LastHandledReconcileAt })
	s.value("other-a", "three")
	s.value("a", "two")
	if err := s.Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: s.meta("a")}, client.RawPatch("application/merge-patch+json",
		[]byte(`{"data":{"value":"edited"}}`)), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}

	// flux resume kustomization app
	s.suspend(k, false)
	s.eventually("the resumed object catches up", func() string {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err.Error()
		}
		if k.Status.LastAppliedRevision != "main@sha1:"+hash {
			return "it is at " + k.Status.LastAppliedRevision
		}
		return ""
	})
	s.value("a", "three")

	// flux tree kustomization app
	for _, e := range k.Status.Inventory.Entries {
		if _, err := object.ParseObjMetadata(e.ID); err != nil {
			t.Errorf("inventory id %q: %v", e.ID, err)
		}
	}
	// flux events --for kustomization/app
	var all corev1.EventList
	if err := s.List(t.Context(), &all, client.InNamespace(s.ns), client.MatchingFieldsSelector{
		Selector: fields.Set{"involvedObject.kind": kustomizev1.KustomizationKind, "involvedObject.name": "app"}.AsSelector(),
	}); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) == 0 {
		t.Error("flux events would show nothing")
	}
	// flux trace configmap a
	cm := &corev1.ConfigMap{}
	if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "a"}, cm); err != nil {
		t.Fatal(err)
	}
	if cm.Labels[kustomizev1.GroupVersion.Group+"/name"] != "app" || cm.Labels[kustomizev1.GroupVersion.Group+"/namespace"] != s.ns {
		t.Errorf("the labels of an applied object are %v", cm.Labels)
	}
	s.plan["configmaps/a"], s.plan["configmaps/other-a"] = true, true
}

// request asks for a reconciliation and waits as the command line does: until
// the request was handled, and then until kstatus calls the object current.
func (s *story) request(obj conditioned, handled func() string) {
	s.Helper()
	token := time.Now().Format(time.RFC3339Nano)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, token)
	if err := s.Patch(s.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.Fatal(err)
	}
	s.eventually(fmt.Sprintf("the request to %s is handled", obj.GetName()), func() string {
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		if handled() != token {
			return "lastHandledReconcileAt is " + handled()
		}
		return s.current(obj)
	})
}

func (s *story) suspend(k *kustomizev1.Kustomization, yes bool) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec":{"suspend":%t}}`, yes)
	if err := s.Patch(s.Context(), k, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.Fatal(err)
	}
}

// current says what kstatus makes of an object, "" for current.
func (s *story) current(obj conditioned) string {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return err.Error()
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		return err.Error()
	}
	if result.Status != status.CurrentStatus {
		return fmt.Sprintf("%s: %s", result.Status, result.Message)
	}
	return ""
}
