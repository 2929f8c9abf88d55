package expression

import (
	"context"

	"github.com/weirhq/weir/internal/expression"
)

// Ready is a compiled spec.dependsOn[].readyExpr.
type Ready struct{ holds *expression.Expression }

// NewReady compiles an expression over the objects self, which waits, and dep,
// which is waited for. The error wraps ErrInvalid.
func NewReady(text string) (*Ready, error) {
	e, err := dependency.Compile(text)
	if err != nil {
		return nil, err
	}
	return &Ready{e}, nil
}

// Evaluate reports whether dep is ready for self. A field that is not there is
// an error; it may come later.
func (r *Ready) Evaluate(ctx context.Context, self, dep map[string]any) (bool, error) {
	return r.holds.Holds(ctx, map[string]any{"self": self, "dep": dep})
}
