package expression

import (
	"errors"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func check(apiVersion, kind string, e kustomize.HealthCheckExpressions) kustomize.CustomHealthCheck {
	return kustomize.CustomHealthCheck{APIVersion: apiVersion, Kind: kind, HealthCheckExpressions: e}
}

func TestRulesJudge(t *testing.T) {
	const (
		phase = "status.phase == "
		conds = "status.conditions.filter(c, c.type == 'Ready').all(c, c.status == 'True')"
	)
	for name, tt := range map[string]struct {
		expr   kustomize.HealthCheckExpressions
		object map[string]any
		want   status.Status // "" is an error
	}{
		"current":             {kustomize.HealthCheckExpressions{Current: phase + "'Up'"}, map[string]any{"status": map[string]any{"phase": "Up"}}, status.CurrentStatus},
		"not yet":             {kustomize.HealthCheckExpressions{Current: phase + "'Up'"}, map[string]any{"status": map[string]any{"phase": "Starting"}}, status.InProgressStatus},
		"failed":              {kustomize.HealthCheckExpressions{Current: "false", Failed: phase + "'Bad'"}, map[string]any{"status": map[string]any{"phase": "Bad"}}, status.FailedStatus},
		"in progress first":   {kustomize.HealthCheckExpressions{Current: "true", Failed: "true", InProgress: "true"}, map[string]any{}, status.InProgressStatus},
		"conditions":          {kustomize.HealthCheckExpressions{Current: conds}, map[string]any{"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}, status.CurrentStatus},
		"a missing field":     {kustomize.HealthCheckExpressions{Current: phase + "'Up'"}, map[string]any{"spec": map[string]any{}}, ""},
		"asked with has":      {kustomize.HealthCheckExpressions{Current: "has(spec.a) && spec.a == 1"}, map[string]any{"spec": map[string]any{}}, status.InProgressStatus},
		"no boolean":          {kustomize.HealthCheckExpressions{Current: "status.phase"}, map[string]any{"status": map[string]any{"phase": "Up"}}, ""},
		"an older generation": {kustomize.HealthCheckExpressions{Current: "true"}, map[string]any{"metadata": map[string]any{"generation": int64(2)}, "status": map[string]any{"observedGeneration": int64(1)}}, status.InProgressStatus},
		"an odd generation":   {kustomize.HealthCheckExpressions{Current: "true"}, map[string]any{"status": map[string]any{"observedGeneration": "1"}}, status.CurrentStatus},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := Rules([]kustomize.CustomHealthCheck{check("example.com/v1", "Widget", tt.expr)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := rules.ByKind[schema.GroupKind{Group: "example.com", Kind: "Widget"}](t.Context(), &unstructured.Unstructured{Object: tt.object})
			switch {
			case tt.want == "" && err == nil:
				t.Errorf("judged %s, want an error", got.Status)
			case tt.want != "" && err != nil:
				t.Error(err)
			case tt.want != "" && got.Status != tt.want:
				t.Errorf("judged %s, want %s", got.Status, tt.want)
			}
		})
	}
}

func TestRulesRefuse(t *testing.T) {
	for name, tt := range map[string]struct {
		checks []kustomize.CustomHealthCheck
		says   string
	}{
		"syntax":    {[]kustomize.CustomHealthCheck{check("a/v1", "", kustomize.HealthCheckExpressions{Current: "status."})}, "spec.healthCheckExprs[0].current"},
		"no text":   {[]kustomize.CustomHealthCheck{check("a/v1", "", kustomize.HealthCheckExpressions{Failed: "true"})}, "current"},
		"twice":     {[]kustomize.CustomHealthCheck{check("a/v1", "A", kustomize.HealthCheckExpressions{Current: "true"}), check("a/v2", "A", kustomize.HealthCheckExpressions{Current: "true"})}, "spec.healthCheckExprs[1]"},
		"too long":  {[]kustomize.CustomHealthCheck{check("a/v1", "", kustomize.HealthCheckExpressions{Current: strings.Repeat("true && ", 2000) + "true"})}, "longer"},
		"multiples": {[]kustomize.CustomHealthCheck{check("a/v1", "", kustomize.HealthCheckExpressions{Current: "a" + strings.Repeat(".replace('a', 'aa')", 20)})}, "replace"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Rules(tt.checks)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}

func TestReady(t *testing.T) {
	self := map[string]any{"spec": map[string]any{"x": "1"}}
	dep := map[string]any{"metadata": map[string]any{"labels": map[string]any{"v": "1"}}}
	for text, want := range map[string]bool{
		"dep.metadata.labels['v'] == self.spec.x": true,
		"dep.metadata.labels['v'] == 'other'":     false,
		"has(dep.status)":                         false,
	} {
		r, err := NewReady(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Evaluate(t.Context(), self, dep); err != nil || got != want {
			t.Errorf("%s = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "dep.", "other.x == 1", "'text'", "dep.metadata.name"} {
		if _, err := NewReady(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("NewReady(%q) = %v, want ErrInvalid", text, err)
		}
	}
}
