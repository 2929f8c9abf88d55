package kustomization

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

func (g *rig) setValue(name, value, by string) {
	g.Helper()
	cm := &corev1.ConfigMap{}
	if err := g.Get(g.Context(), g.key(name), cm); err != nil {
		g.Fatal(err)
	}
	cm.Data["value"] = value
	if err := g.Update(g.Context(), cm, client.FieldOwner(by)); err != nil {
		g.Fatal(err)
	}
}

func TestIgnoredFields(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"/data/value"}, Target: &kustomize.Selector{Kind: "ConfigMap", Name: "a"}}}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	g.told()
	g.setValue("a", "theirs", "autoscaler")
	g.awaitBell("app")
	g.setValue("b", "theirs", "autoscaler")
	g.awaitBell("app")
	g.reconcile("app")
	if g.value("a") != "theirs" || g.value("b") != "1" {
		t.Errorf("a = %s, b = %s; want a left alone and b corrected", g.value("a"), g.value("b"))
	}
	if told := strings.Join(g.told(), "\n"); strings.Contains(told, "/a ") || !strings.Contains(told, "/b configured: drift corrected") {
		t.Errorf("events are\n%s", told)
	}
}

func TestIgnoreRulesThatCannotBeUsedStall(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.Ignore = []kustomizev1.IgnoreRule{{Paths: []string{"/spec"}}, {Paths: []string{"/metadata/name"}}}
	})
	k, _ := g.reconcile("app")
	message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
	if !strings.Contains(message, "spec.ignore[1].paths[0]") || !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.StalledCondition) {
		t.Errorf("conditions are %+v", k.Status.Conditions)
	}
}
