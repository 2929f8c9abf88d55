package kustomization

import (
	"fmt"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/kustomize-controller/internal/expression"
)

// expressions are those of a spec, compiled.
type expressions struct {
	health apply.Rules
	ready  []*expression.Ready // one for each of spec.dependsOn; nil where it has none
}

// compile compiles all expressions of k.
func compile(k *kustomizev1.Kustomization) (expressions, error) {
	health, err := expression.Rules(k.Spec.HealthCheckExprs)
	if err != nil {
		return expressions{}, err
	}
	out := expressions{health: health, ready: make([]*expression.Ready, len(k.Spec.DependsOn))}
	for i, d := range k.Spec.DependsOn {
		if d.ReadyExpr == "" {
			continue
		}
		if out.ready[i], err = expression.NewReady(d.ReadyExpr); err != nil {
			return expressions{}, fmt.Errorf("spec.dependsOn[%d].readyExpr: %w", i, err)
		}
	}
	return out, nil
}
