package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	celtypes "github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	maxFilter = 4096 // bytes of an expression
	// maxFilterCost and maxFilterTime bound one evaluation.
	maxFilterCost = 1_000_000
	maxFilterTime = time.Second
)

// errFilter reports an expression that has to be edited.
var errFilter = errors.New("invalid expression")

// filter decides by a CEL expression which objects are asked to reconcile. It
// sees the object's metadata as res and the body of the call as req.
type filter struct{ program cel.Program }

// filterLanguage is CEL with the functions that take references apart: split,
// first and last. None of them makes more text than it is given.
var filterLanguage = sync.OnceValues(func() (*cel.Env, error) {
	list := cel.ListType(cel.DynType)
	return cel.NewEnv(
		cel.Variable("res", cel.DynType), cel.Variable("req", cel.DynType),
		cel.Function("split", cel.MemberOverload("string_split_string", []*cel.Type{cel.StringType, cel.StringType}, cel.ListType(cel.StringType),
			cel.BinaryBinding(func(text, by ref.Val) ref.Val {
				return celtypes.DefaultTypeAdapter.NativeToValue(strings.Split(string(text.(celtypes.String)), string(by.(celtypes.String))))
			}))),
		cel.Function("first", cel.MemberOverload("list_first", []*cel.Type{list}, cel.DynType, cel.UnaryBinding(func(l ref.Val) ref.Val { return at(l, 0) }))),
		cel.Function("last", cel.MemberOverload("list_last", []*cel.Type{list}, cel.DynType, cel.UnaryBinding(func(l ref.Val) ref.Val { return at(l, -1) }))),
	)
})

// indexed is what lists of CEL have.
type indexed interface {
	Size() ref.Val
	Get(ref.Val) ref.Val
}

func at(v ref.Val, i celtypes.Int) ref.Val {
	l, ok := v.(indexed)
	if !ok {
		return celtypes.NewErr("this is no list")
	}
	size, _ := l.Size().(celtypes.Int)
	if size == 0 {
		return celtypes.NewErr("the list is empty")
	}
	return l.Get((i + size) % size)
}

// newFilter compiles text; "" makes no filter.
func newFilter(text string) (*filter, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxFilter {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errFilter, maxFilter)
	}
	language, err := filterLanguage()
	if err != nil {
		return nil, err
	}
	ast, issues := language.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%w: %w", errFilter, issues.Err())
	}
	if out := ast.OutputType(); out != cel.BoolType && out != cel.DynType {
		return nil, fmt.Errorf("%w: its result is %s, not a boolean", errFilter, out)
	}
	program, err := language.Program(ast, cel.CostLimit(maxFilterCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFilter, err)
	}
	return &filter{program}, nil
}

// wants evaluates the filter for one object. Its error is ErrPayload: what
// the expression asks for is not there, or it costs too much.
func (f *filter) wants(ctx context.Context, obj *metav1.PartialObjectMetadata, req any) (bool, error) {
	text, err := json.Marshal(obj)
	if err != nil {
		return false, err
	}
	var res map[string]any
	if err := json.Unmarshal(text, &res); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxFilterTime)
	defer cancel()
	out, _, err := f.program.ContextEval(ctx, map[string]any{"res": res, "req": req})
	if err != nil {
		return false, fmt.Errorf("%w: the filter of %s %q: %w", ErrPayload, obj.Kind, obj.Name, err)
	}
	if out.Type() != celtypes.BoolType {
		return false, fmt.Errorf("%w: the filter of %s %q gives %s, not a boolean", ErrPayload, obj.Kind, obj.Name, out.Type().TypeName())
	}
	return out == celtypes.True, nil
}
