package install

import (
	"context"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// unbind makes the kustomize-controller no administrator for the time of a
// test, as an installation with the lockdown has it.
func unbind(t *testing.T, c client.Client) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: reconciler}}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, obj := range render(t, "default") {
			if obj.GetName() != reconciler {
				continue
			}
			if err := send(context.Background(), c, obj); err != nil {
				t.Error(err)
			}
		}
	})
}

// Under the lockdown a Kustomization can do what the service account of its
// namespace can, and nothing else.
func TestTenantsHaveTheirOwnRights(t *testing.T) {
	unbind(t, install(t))
	skip := len(testenv.Audit(t))
	s := newStage(t, map[string]string{"app/app.yaml": configMap("one")}, "tenancy-lockdown")
	k := s.kustomization(nil)
	account := "system:serviceaccount:" + s.ns + ":default"
	if message := s.is(k, metav1.ConditionFalse); !strings.Contains(message, account) || !strings.Contains(message, "forbidden") {
		t.Errorf("the message names neither the account nor the cause: %s", message)
	}

	s.create(&rbacv1.RoleBinding{ObjectMeta: s.meta("tenant"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: s.ns}}})
	s.ask(k)
	s.ready(k)
	s.value("one")

	// What belongs to the cluster is out of reach.
	if _, err := s.git.Commit("app", "main", "Reach out", map[string]string{
		"app/role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: reach-out\n"}); err != nil {
		t.Fatal(err)
	}
	s.webhook()
	if message := s.is(k, metav1.ConditionFalse); !strings.Contains(message, "reach-out") {
		t.Errorf("the message does not name the object: %s", message)
	}
	checkImpersonation(t, requests(t, skip), account)

	other := &kustomizev1.Kustomization{ObjectMeta: s.meta("other"), Spec: *k.Spec.DeepCopy()}
	other.Spec.SourceRef.Namespace = "default"
	s.create(other)
	if message := s.is(other, metav1.ConditionFalse); !strings.Contains(message, "default") {
		t.Errorf("the message does not name the other namespace: %s", message)
	}
}

// checkImpersonation reports writes that the kustomize-controller made under
// its own name outside of its own kind.
func checkImpersonation(t *testing.T, events []testenv.AuditEvent, account string) {
	t.Helper()
	acted := false
	for _, e := range events {
		if e.User != accounts+toolkit.Kustomize {
			continue
		}
		acted = acted || e.Impersonated == account
		write := e.Writes()
		own := e.Resource == "kustomizations" || e.Resource == "events" || e.Resource == "leases" || e.Resource == ""
		if write && !own && e.Impersonated != account {
			t.Errorf("not as the tenant: %s", describe(e))
		}
		if e.Impersonated == "" && e.Code == http.StatusForbidden && write {
			t.Errorf("refused: %s", describe(e))
		}
	}
	if !acted {
		t.Errorf("nothing was done as %s", account)
	}
}
