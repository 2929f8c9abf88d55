package kustomization

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
)

func TestExternalArtifactsAreBehindAGate(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	repo := &sourcev1.GitRepository{}
	if err := g.Get(g.Context(), g.key("source"), repo); err != nil {
		t.Fatal(err)
	}
	external := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Name: "made", Namespace: g.ns}}
	if err := g.Create(g.Context(), external); err != nil {
		t.Fatal(err)
	}
	external.Status.Artifact = repo.Status.Artifact
	if err := g.Status().Update(g.Context(), external); err != nil {
		t.Fatal(err)
	}
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.ExternalArtifactKind, Name: "made"}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.FeatureGateDisabledReason)
	g.o.ExternalArtifacts, g.o.FreshSources = true, true
	g.restart()
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
}

func TestGroupedChanges(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.o.GroupChanges = true
	g.restart()
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	g.kustomization("app", nil)
	g.reconcile("app")
	want := "created:\n- ConfigMap/" + g.ns + "/a\n- ConfigMap/" + g.ns + "/b"
	if told := strings.Join(g.told(), "\n"); !strings.Contains(told, want) {
		t.Errorf("events are\n%s\nwant\n%s", told, want)
	}
}

// brokenRule says that a ConfigMap with the value "broken" has failed.
var brokenRule = []kustomize.CustomHealthCheck{{APIVersion: "v1", HealthCheckExpressions: kustomize.HealthCheckExpressions{
	Current: "data.value == 'up'", Failed: "data.value == 'broken'",
}}}

func TestFailedObjectsCanBeWaitedFor(t *testing.T) {
	t.Parallel()
	for name, patient := range map[string]bool{"fail fast": false, "patient": true} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.o.PatientHealth = patient
			g.restart()
			g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "broken")})
			g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
				s.Wait = true
				s.HealthCheckExprs = brokenRule
			})
			k, _ := g.reconcile("app")
			if !patient {
				g.wantReady(k, metav1.ConditionFalse, meta.HealthCheckFailedReason)
				return
			}
			g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
			g.worker.recall(k).waiting = time.Now().Add(-time.Hour)
			k, _ = g.reconcile("app")
			g.wantReady(k, metav1.ConditionFalse, meta.HealthCheckFailedReason)
		})
	}
}

// A new revision ends a wait for health in any case; with the gate an event says so.
func TestCanceledWaitsAreTold(t *testing.T) {
	t.Parallel()
	for _, gate := range []bool{false, true} {
		g := newRig(t)
		g.o.TellCanceled = gate
		g.restart()
		g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "starting")})
		g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
			s.Wait = true
			s.HealthCheckExprs = brokenRule
		})
		k, _ := g.reconcile("app")
		g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
		g.told()
		g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "up")})
		k, _ = g.reconcile("app")
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
		want := meta.HealthCheckCanceledReason + " Health checks canceled due to new reconciliation triggered by GitRepository/" + g.ns + "/source"
		if told := strings.Join(g.told(), "\n"); strings.Contains(told, want) != gate {
			t.Errorf("gate %t: events are\n%s", gate, told)
		}
	}
}

// An inventory that cannot be written is refused before anything is applied.
func TestInventoriesHaveToFit(t *testing.T) {
	t.Parallel()
	refs := func(n int) (out []apply.Ref, built *build.Result) {
		built = &build.Result{}
		for i := range n {
			o := build.Object{GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Namespace: "namespace", Name: fmt.Sprintf("a-config-map-%d", i)}
			built.Objects = append(built.Objects, o)
			out = append(out, apply.Ref{GroupVersionKind: o.GVK, Namespace: o.Namespace, Name: o.Name})
		}
		return out, built
	}
	owned, built := refs(20_000)
	if err := fits(owned, built); err != nil {
		t.Errorf("20,000 objects: %v", err)
	}
	if size, err := json.Marshal(entries(owned).Entries); err != nil || len(size) > maxInventory {
		t.Errorf("20,000 objects have %d bytes, %v", len(size), err)
	}
	_, built = refs(30_000)
	if err := fits(nil, built); err == nil || !strings.Contains(err.Error(), "30000 objects") {
		t.Errorf("30,000 objects: %v", err)
	}
}

// A variable without a value fails the build, unless the gate
// StrictPostBuildSubstitutions is off.
func TestStrictSubstitution(t *testing.T) {
	t.Parallel()
	for _, loose := range []bool{false, true} {
		g := newRig(t)
		g.o.LooseSubstitution = loose
		g.restart()
		g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "x${missing}y")})
		g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
			s.PostBuild = &kustomizev1.PostBuild{Substitute: map[string]string{"other": "1"}}
		})
		k, _ := g.reconcile("app")
		if !loose {
			if message := g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason); !strings.Contains(message, `"missing"`) {
				t.Errorf("Ready says %q", message)
			}
			continue
		}
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
		if got := g.value("a"); got != "xy" {
			t.Errorf("a = %q", got)
		}
	}
}
