package kustomization

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
)

// deleteNow asks for the deletion of a Kustomization and lets the reconciler
// see to it once; nil when it is gone.
func (g *rig) deleteNow(name string) *kustomizev1.Kustomization {
	g.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.ns}}
	if err := g.Delete(g.Context(), k); err != nil {
		g.Fatal(err)
	}
	return g.finish(name)
}

func (g *rig) finish(name string) *kustomizev1.Kustomization {
	g.Helper()
	g.reconcile(name)
	k := &kustomizev1.Kustomization{}
	if err := g.Get(g.Context(), g.key(name), k); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		g.Fatal(err)
	}
	return k
}

// outlast is finish until the object is gone: on a slow machine, its objects take
// longer than the moment that a worker waits for them.
func (g *rig) outlast(name string) *kustomizev1.Kustomization {
	g.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if k := g.finish(name); k == nil || time.Now().After(deadline) {
			return k
		}
	}
}

// The service account that applied the objects is gone: they stay, with an
// event. The controller's own rights would be rights that nobody gave.
func TestDeletionWithoutServiceAccount(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer", Namespace: g.ns}}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "deployer", Namespace: g.ns},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"*"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "deployer", Namespace: g.ns},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "deployer"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deployer", Namespace: g.ns}}}
	for _, obj := range []client.Object{account, role, binding} {
		if err := g.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.ServiceAccountName = "deployer" })
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)

	// While the account may not delete, nothing is settled.
	role.Rules[0].Verbs = []string{"get", "create", "patch"}
	if err := g.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if k = g.deleteNow("app"); k == nil {
		t.Fatal("it went although its objects could not be deleted")
	}
	if message := g.wantReady(k, metav1.ConditionFalse, meta.PruneFailedReason); !strings.Contains(message, "is forbidden") {
		t.Errorf("Ready says %q", message)
	}
	if len(k.Status.Inventory.Entries) != 2 {
		t.Errorf("inventory = %+v", k.Status.Inventory)
	}
	g.told()
	if err := g.Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if k = g.outlast("app"); k != nil {
		t.Errorf("it is still there: %+v", k.Status.Conditions)
	}
	if told := strings.Join(g.told(), "\n"); !strings.Contains(told, `service account "deployer" does not exist any more: 2 objects were left in place`) {
		t.Errorf("events are\n%s", told)
	}
	if g.value("a") != "1" {
		t.Error("the objects did not stay")
	}
}

// The definition of a kind is gone, and its objects with it: the entry is
// settled, after the API server has been asked anew.
func TestDeletionWithoutDefinition(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	group := g.ns + ".example.com"
	g.publish("v1", map[string]string{
		"app/crd.yaml": fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.%[1]s, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, group),
		"app/thing.yaml": fmt.Sprintf("apiVersion: %s/v1\nkind: Thing\nmetadata: {name: one}\n", group),
		"app/a.yaml":     configMap("a", "1"),
	})
	g.kustomization("app", nil)
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if len(k.Status.Inventory.Entries) != 3 {
		t.Fatalf("inventory = %+v", k.Status.Inventory)
	}
	crd := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}}
	crd.Name = "things." + group
	if err := g.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	for { // its objects go first
		if err := g.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); apierrors.IsNotFound(err) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	g.deleteNow("app")
	if k = g.outlast("app"); k != nil {
		t.Errorf("it is still there: %+v, inventory %+v", k.Status.Conditions, k.Status.Inventory)
	}
	if g.value("a") != "(none)" {
		t.Error("the rest was not deleted")
	}
}

// The cluster that holds the objects cannot be reached: that may pass, so the
// Kustomization stays, says so, and goes when the objects are gone.
func TestDeletionWhileTheClusterIsAway(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	far := startAnother(g)
	g.setSecret("far", map[string][]byte{"value": far.kubeconfig})
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.TargetNamespace = far.ns
		s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "far"}}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	far.line.set(false)
	if k = g.deleteNow("app"); k == nil {
		t.Fatal("it went without its objects")
	}
	message := g.wantReady(k, metav1.ConditionFalse, meta.PruneFailedReason)
	if !strings.Contains(message, "deleting the objects of this Kustomization") || len(k.Status.Inventory.Entries) != 1 {
		t.Errorf("Ready says %q, inventory %+v", message, k.Status.Inventory)
	}
	g.restart() // a new process goes on
	far.line.set(true)
	if k = g.outlast("app"); k != nil {
		t.Errorf("it is still there: %+v", k.Status.Conditions)
	}
	if got := far.value(g, "a"); got != "(none)" {
		t.Errorf("a = %s after the deletion", got)
	}
}

// A failed discovery, of an aggregated API for instance, says nothing about
// whether a kind exists: nothing is settled on its word.
func TestDeletionIsNotSettledByABrokenDiscovery(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	far := startAnother(g)
	g.setSecret("far", map[string][]byte{"value": far.kubeconfig})
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.TargetNamespace = far.ns
		s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "far"}}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	unknown := apply.Ref{Namespace: far.ns, Name: "x"}
	unknown.Group, unknown.Version, unknown.Kind = "gone.example.com", "v1", "Gone"
	k.Status.Inventory.Entries = append(k.Status.Inventory.Entries, kustomizev1.ResourceRef{ID: unknown.ID(), Version: "v1"})
	if err := g.Status().Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	far.line.set(false)
	g.restart()
	if k = g.deleteNow("app"); k == nil || len(k.Status.Inventory.Entries) != 2 {
		t.Fatalf("entries were settled while nobody could be asked: %+v", k)
	}
	far.line.set(true)
	if k = g.outlast("app"); k != nil {
		t.Errorf("it is still there: %+v", k.Status.Conditions)
	}
}
