// Package expression evaluates CEL expressions that come from outside.
//
// The language is that of the wire API: CEL with optional types and the
// extensions for strings, sets and encodings. Expressions and the data they
// look at are hostile until shown otherwise, so each evaluation is bounded in
// steps, in time and in the text it may produce; an expression is bounded in
// length.
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

// base is what all expressions may use, without variables.
var base = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	)
})

// Language is what expressions of one kind may use. It is safe for concurrent
// use.
type Language struct {
	env     func() (*cel.Env, error)
	checked bool // against the names of variables
}

// Fields is the language whose names are the fields of an object, which nobody
// knows before there is one. Mistakes show when an expression is evaluated.
var Fields = &Language{env: base}

// NewLanguage returns the language with these variables, all of them JSON
// objects, and with further functions. A function must not make more text
// than it is given.
func NewLanguage(variables []string, functions ...cel.EnvOption) *Language {
	return &Language{checked: true, env: sync.OnceValues(func() (*cel.Env, error) {
		env, err := base()
		if err != nil {
			return nil, err
		}
		more := functions
		for _, name := range variables {
			more = append(more, cel.Variable(name, cel.ObjectType("google.protobuf.Struct")))
		}
		return env.Extend(more...)
	})}
}

// Expression is a compiled expression. It is safe for concurrent use.
type Expression struct{ program cel.Program }

// Compile compiles a condition: where the language knows the type of the
// result, it has to be a boolean. The error wraps ErrInvalid.
func (l *Language) Compile(text string) (*Expression, error) {
	return l.compile(text, l.checked)
}

// CompileValue compiles an expression with a result of any type. The error
// wraps ErrInvalid.
func (l *Language) CompileValue(text string) (*Expression, error) {
	return l.compile(text, false)
}

func (l *Language) compile(text string, boolean bool) (*Expression, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, maxLength)
	}
	if n := strings.Count(text, "replace") + strings.Count(text, "join") + strings.Count(text, "format"); n > maxMultiples {
		return nil, fmt.Errorf("%w: it calls replace, join and format more than %d times", ErrInvalid, maxMultiples)
	}
	env, err := l.env()
	if err != nil {
		return nil, err
	}
	parse := env.Parse
	if l.checked {
		parse = env.Compile
	}
	ast, issues := parse(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, issues.Err())
	}
	if boolean && ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("%w: its result is %s, not a boolean; compare it to true", ErrInvalid, ast.OutputType())
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.CostTracking(weights{}),
		cel.InterruptCheckFrequency(100), cel.CustomDecorator(bound))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &Expression{program}, nil
}

// Holds evaluates a condition. A field that is not there is an error.
func (e *Expression) Holds(ctx context.Context, data map[string]any) (bool, error) {
	out, err := e.evaluate(ctx, data)
	if err != nil {
		return false, err
	}
	holds, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the result is no boolean but %s", out.Type().TypeName())
	}
	return bool(holds), nil
}

// Text evaluates an expression whose result has to be a text.
func (e *Expression) Text(ctx context.Context, data map[string]any) (string, error) {
	out, err := e.evaluate(ctx, data)
	if err != nil {
		return "", err
	}
	text, ok := out.(types.String)
	if !ok {
		return "", fmt.Errorf("the result is no text but %s", out.Type().TypeName())
	}
	return string(text), nil
}

// Value evaluates an expression for use in the data of another one. Results
// that hold more than a mebibyte of text are refused.
func (e *Expression) Value(ctx context.Context, data map[string]any) (any, error) {
	out, err := e.evaluate(ctx, data)
	if err != nil {
		return nil, err
	}
	if weigh(out, 0) > maxText {
		return nil, errors.New("the result is too long")
	}
	return out, nil
}

func (e *Expression) evaluate(ctx context.Context, data map[string]any) (ref.Val, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	out, _, err := e.program.ContextEval(ctx, data)
	return out, err
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
