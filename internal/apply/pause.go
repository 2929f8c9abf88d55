package apply

import (
	"context"
	"time"
)

// pause waits ever longer, up to a limit.
type pause struct{ next, limit time.Duration }

func newPause(first, limit time.Duration) *pause { return &pause{first, limit} }

// wait returns the context's error when that ends first.
func (p *pause) wait(ctx context.Context) error {
	t := time.NewTimer(p.next)
	defer t.Stop()
	p.next = min(2*p.next, p.limit)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
