// Package expression evaluates the CEL expressions of a Kustomization: those
// that tell how healthy an object is (spec.healthCheckExprs) and those that
// tell whether a dependency is ready (spec.dependsOn[].readyExpr). The
// language and its bounds are those of internal/expression.
package expression

import "github.com/weirhq/weir/internal/expression"

// ErrInvalid is wrapped by errors about expressions that cannot be compiled.
var ErrInvalid = expression.ErrInvalid

// dependency is the language with the variables self and dep.
var dependency = expression.NewLanguage([]string{"self", "dep"})
