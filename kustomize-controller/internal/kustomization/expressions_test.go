package kustomization

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

func TestHealthByExpression(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "starting")})
	phase := func(value string) func(*kustomizev1.KustomizationSpec) {
		return func(s *kustomizev1.KustomizationSpec) {
			s.Wait = true
			s.HealthCheckExprs = []kustomize.CustomHealthCheck{{APIVersion: "v1", Kind: "ConfigMap", HealthCheckExpressions: kustomize.HealthCheckExpressions{
				Current: "data.value == '" + value + "'", Failed: "data.value == 'broken'",
			}}}
		}
	}
	g.kustomization("app", phase("up"))
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)

	g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "up")})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)

	g.edit("app", func(k *kustomizev1.Kustomization) { phase("other")(&k.Spec) })
	k, _ = g.reconcile("app") // the object is the same, the rule is not
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)

	g.publish("v3", map[string]string{"app/a.yaml": configMap("a", "broken")})
	k, _ = g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.HealthCheckFailedReason); !strings.Contains(message, "failed") {
		t.Errorf("Ready says %q", message)
	}
}

func TestExpressionsThatCannotBeCompiledStall(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*kustomizev1.KustomizationSpec)
		says   string
	}{
		"health": {func(s *kustomizev1.KustomizationSpec) {
			s.HealthCheckExprs = []kustomize.CustomHealthCheck{{APIVersion: "v1", HealthCheckExpressions: kustomize.HealthCheckExpressions{Current: "status."}}}
		}, "spec.healthCheckExprs[0].current"},
		"dependency": {func(s *kustomizev1.KustomizationSpec) {
			s.DependsOn = []kustomizev1.DependencyReference{{Name: "first"}, {Name: "second", ReadyExpr: "self.x"}}
		}, "spec.dependsOn[1].readyExpr"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.kustomization("app", tt.change)
			k, _ := g.reconcile("app")
			if message := g.wantReady(k, metav1.ConditionFalse, meta.InvalidCELExpressionReason); !strings.Contains(message, tt.says) {
				t.Errorf("Ready says %q, want %q", message, tt.says)
			}
			if !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.StalledCondition) {
				t.Error("not stalled")
			}
		})
	}
}

func TestReadinessByExpression(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		expr     string
		ready    bool // the dependency is ready by itself
		additive bool
		want     metav1.ConditionStatus
	}{
		"holds":                      {"dep.metadata.labels['tier'] == 'base' && self.metadata.name == 'app'", false, false, metav1.ConditionTrue},
		"does not hold":              {"dep.metadata.labels['tier'] == 'other'", true, false, metav1.ConditionFalse},
		"a field is missing":         {"dep.status.nothing == 'x'", true, false, metav1.ConditionFalse},
		"additive, ready":            {"dep.metadata.labels['tier'] == 'base'", true, true, metav1.ConditionTrue},
		"additive, not ready":        {"dep.metadata.labels['tier'] == 'base'", false, true, metav1.ConditionFalse},
		"additive, ready, not holds": {"false", true, true, metav1.ConditionFalse},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.o.AdditiveReadiness = tt.additive
			g.restart()
			g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "base/b.yaml": configMap("b", "1")})
			g.kustomization("base", func(s *kustomizev1.KustomizationSpec) { s.Path = "./base" })
			g.edit("base", func(k *kustomizev1.Kustomization) { k.Labels = map[string]string{"tier": "base"} })
			if tt.ready {
				g.reconcile("base")
			}
			g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
				s.DependsOn = []kustomizev1.DependencyReference{{Name: "base", ReadyExpr: tt.expr}}
			})
			k, _ := g.reconcile("app")
			reason := meta.DependencyNotReadyReason
			if tt.want == metav1.ConditionTrue {
				reason = meta.ReconciliationSucceededReason
			}
			g.wantReady(k, tt.want, reason)
		})
	}
}

func TestCirclesAreNamed(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	for name, needs := range map[string]string{"a": "b", "b": "c", "c": "a"} {
		g.kustomization(name, func(s *kustomizev1.KustomizationSpec) {
			s.DependsOn = []kustomizev1.DependencyReference{{Name: needs}}
		})
	}
	k, _ := g.reconcile("a")
	message := g.wantReady(k, metav1.ConditionFalse, meta.DependencyNotReadyReason)
	if want := strings.ReplaceAll("N/a -> N/b -> N/c -> N/a", "N", g.ns); !strings.Contains(message, want) {
		t.Errorf("Ready says %q, want %q", message, want)
	}
}

func TestFindCircle(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		graph map[string]string // each letter is a dependency
		want  []string
	}{
		"none":           {graph: map[string]string{"a": "bc", "b": "c"}},
		"itself":         {graph: map[string]string{"a": "a"}, want: []string{"a", "a"}},
		"the shortest":   {graph: map[string]string{"a": "bc", "b": "d", "d": "a", "c": "a"}, want: []string{"a", "c", "a"}},
		"of others only": {graph: map[string]string{"a": "b", "b": "c", "c": "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := findCircle(client.ObjectKey{Name: "a"}, func(k client.ObjectKey) (keys []client.ObjectKey) {
				for _, c := range tt.graph[k.Name] {
					keys = append(keys, client.ObjectKey{Name: string(c)})
				}
				return keys
			})
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "/")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("circle (-want +got):\n%s", diff)
			}
		})
	}
}
