// Package expression evaluates the CEL expressions of a Kustomization: those
// that tell how healthy an object is (spec.healthCheckExprs) and those that
// tell whether a dependency is ready (spec.dependsOn[].readyExpr).
//
// The language is that of the wire API: CEL with optional types and the
// extensions for strings, sets and encodings. Expressions and the objects they
// look at come from outside, so each evaluation is bounded in steps, in time
// and in the text it may produce; an expression is bounded in length.
package expression

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
)

// Bounds on an expression and on one evaluation of it.
const (
	maxLength    = 8 << 10   // bytes of text
	maxCost      = 1_000_000 // steps; ten bytes of text are one
	maxText      = 1 << 20   // bytes one function may make
	maxMultiples = 4         // calls of functions that multiply text, per expression
	maxTime      = time.Second
)

// ErrInvalid is wrapped by errors about expressions that cannot be compiled.
var ErrInvalid = errors.New("invalid CEL expression")

// environment is what expressions may use, without variables.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	)
})

// dependency is the environment with the variables self and dep.
var dependency = sync.OnceValues(func() (*cel.Env, error) {
	base, err := environment()
	if err != nil {
		return nil, err
	}
	object := cel.ObjectType("google.protobuf.Struct")
	return base.Extend(cel.Variable("self", object), cel.Variable("dep", object))
})

// expression is a compiled expression. It is safe for concurrent use.
type expression struct{ program cel.Program }

// compile checks the text. Without variables its names are those of the fields
// of an object, which nobody knows before there is one.
func compile(text string, variables bool) (*expression, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, maxLength)
	}
	if n := strings.Count(text, "replace") + strings.Count(text, "join") + strings.Count(text, "format"); n > maxMultiples {
		return nil, fmt.Errorf("%w: it calls replace, join and format more than %d times", ErrInvalid, maxMultiples)
	}
	env, err := environment()
	parse := func() (*cel.Ast, *cel.Issues) { return env.Parse(text) }
	if variables {
		env, err = dependency()
		parse = func() (*cel.Ast, *cel.Issues) { return env.Compile(text) }
	}
	if err != nil {
		return nil, err
	}
	ast, issues := parse()
	if issues.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, issues.Err())
	}
	if variables && ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("%w: its result is %s, not a boolean; compare it to true", ErrInvalid, ast.OutputType())
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.CostTracking(weights{}),
		cel.InterruptCheckFrequency(100), cel.CustomDecorator(bound))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &expression{program}, nil
}

// holds evaluates the expression. A field that is not there is an error.
func (e *expression) holds(ctx context.Context, data map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	out, _, err := e.program.ContextEval(ctx, data)
	if err != nil {
		return false, err
	}
	holds, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the result is no boolean but %s", out.Type().TypeName())
	}
	return bool(holds), nil
}

// weights charges for the text that a function made; the language's own table
// knows nothing of the extensions.
type weights struct{}

// CallCost implements interpreter.ActualCostEstimator.
func (weights) CallCost(_, _ string, _ []ref.Val, result ref.Val) *uint64 {
	text, ok := result.(types.String)
	if !ok || len(text) < 10 {
		return nil
	}
	cost := uint64(len(text)) / 10
	return &cost
}

// bound keeps functions whose result can be the product of their arguments
// from running when it would be too long: cost is counted after the fact.
func bound(node interpreter.Interpretable) (interpreter.Interpretable, error) {
	if call, ok := node.(interpreter.InterpretableCall); ok {
		switch call.Function() {
		case "replace", "join", "format":
			return bounded{call}, nil
		}
	}
	return node, nil
}

type bounded struct{ interpreter.InterpretableCall }

// Eval implements interpreter.Interpretable. It evaluates the arguments once
// more to measure them, which is why few such calls are allowed.
func (b bounded) Eval(vars interpreter.Activation) ref.Val {
	product := 1
	for _, arg := range b.Args() {
		if product *= max(1, weigh(arg.Eval(vars), 0)); product > maxText {
			return types.NewErr("the text that %s() could make is too long", b.Function())
		}
	}
	return b.InterpretableCall.Eval(vars)
}

// weigh returns the length of a text, or that of all texts in a list.
func weigh(v ref.Val, depth int) int {
	switch v := v.(type) {
	case types.String:
		return len(v)
	case interface {
		Size() ref.Val
		Get(ref.Val) ref.Val
	}:
		n, _ := v.Size().(types.Int)
		if depth > 3 || n > maxText {
			return maxText + 1
		}
		total := int(n)
		if _, list := v.(interface{ Add(ref.Val) ref.Val }); list {
			for i := range n {
				total += weigh(v.Get(i), depth+1)
			}
		}
		return total
	}
	return 1
}
