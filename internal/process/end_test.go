package process

import (
	"context"
	"testing"
)

// What is done at the end is done at once, also when the program was told to stop, and
// its time is bounded.
func TestAtTheEnd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	e := &Env{}
	met := make(chan struct{})
	for _, fn := range []func(){func() { met <- struct{}{} }, func() { <-met }} {
		e.AtTheEnd(func(ctx context.Context) {
			fn() // both run side by side, or none ends
			if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
				t.Errorf("the context has ended (%v) or has no end", ctx.Err())
			}
		})
	}
	e.end(ctx)
}
