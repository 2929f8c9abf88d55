package expression

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/expression"
)

// Rules compiles spec.healthCheckExprs. A rule is for an API group, whatever
// its version, and for one kind of it when it names one. The error wraps
// ErrInvalid and names the field.
func Rules(checks []kustomize.CustomHealthCheck) (apply.Rules, error) {
	if len(checks) == 0 {
		return apply.Rules{}, nil
	}
	rules := apply.Rules{ByKind: make(map[schema.GroupKind]apply.Rule, len(checks))}
	for i, c := range checks {
		gk := schema.FromAPIVersionAndKind(c.APIVersion, c.Kind).GroupKind()
		if _, twice := rules.ByKind[gk]; twice {
			return apply.Rules{}, fmt.Errorf("spec.healthCheckExprs[%d]: %w: there is another rule for %q", i, ErrInvalid, gk)
		}
		rule, err := newRule(c.HealthCheckExpressions)
		if err != nil {
			return apply.Rules{}, fmt.Errorf("spec.healthCheckExprs[%d].%w", i, err)
		}
		rules.ByKind[gk] = rule
	}
	text, err := json.Marshal(checks)
	if err != nil {
		return apply.Rules{}, err
	}
	rules.ID = fmt.Sprintf("%x", sha256.Sum256(text))
	return rules, nil
}

// outcome is an expression and what it means when it holds.
type outcome struct {
	holds *expression.Expression
	field string
	means status.Status
}

func newRule(e kustomize.HealthCheckExpressions) (apply.Rule, error) {
	var outcomes []outcome
	for _, o := range []struct {
		field, text string
		means       status.Status
	}{ // asked in this order
		{"inProgress", e.InProgress, status.InProgressStatus},
		{"failed", e.Failed, status.FailedStatus},
		{"current", e.Current, status.CurrentStatus},
	} {
		if o.text == "" && o.field == "current" {
			return nil, fmt.Errorf("current: %w: it is empty", ErrInvalid)
		}
		if o.text == "" {
			continue
		}
		compiled, err := expression.Fields.Compile(o.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.field, err)
		}
		outcomes = append(outcomes, outcome{compiled, o.field, o.means})
	}
	return func(ctx context.Context, u *unstructured.Unstructured) (*status.Result, error) {
		return judge(ctx, u, outcomes)
	}, nil
}

// judge evaluates the expressions with the object's fields as variables. While
// its controller has not seen the latest generation, an object is in progress
// whatever they say.
func judge(ctx context.Context, u *unstructured.Unstructured, outcomes []outcome) (*status.Result, error) {
	observed, found, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if err == nil && found && observed != u.GetGeneration() {
		return &status.Result{Status: status.InProgressStatus, Message: "its controller has not seen its latest generation"}, nil
	}
	for _, o := range outcomes {
		holds, err := o.holds.Holds(ctx, u.Object)
		if err != nil {
			return nil, fmt.Errorf("the expression %q cannot be evaluated: %w", o.field, err)
		}
		if holds {
			return &status.Result{Status: o.means, Message: fmt.Sprintf("the expression %q holds", o.field)}, nil
		}
	}
	return &status.Result{Status: status.InProgressStatus, Message: "the expression \"current\" does not hold yet"}, nil
}
