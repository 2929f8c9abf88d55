// Package cause says of an error how it is told in the status of a source: for which
// reason of the wire API, whether an edit of the spec is needed, and when it is worth
// trying again. Each kind of source has a Table of what its parts report.
package cause

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/api/duration"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/upstream"
)

// defaultTimeout bounds the work on one object when its spec says nothing.
const defaultTimeout = 60 * time.Second

// Cause is how one error is told, which errors.Is finds.
type Cause struct {
	is     error
	Reason string
	final  bool
}

// Retry is the Cause of an error that the next attempt may not meet.
func Retry(is error, reason string) Cause { return Cause{is: is, Reason: reason} }

// Stall is the Cause of an error that only an edit of the spec cures.
func Stall(is error, reason string) Cause { return Cause{is: is, Reason: reason, final: true} }

// Table is how the errors of one kind are told.
type Table struct {
	Causes []Cause // the first that fits counts
	Other  string  // the reason of what none of them fits, and of a timeout
}

// timeout is the cause of a context that Within has ended.
type timeout struct {
	field string
	after time.Duration
}

// Error implements error. HTTP clients quote it.
func (t *timeout) Error() string { return t.field }

// Within bounds what is done with the context it returns by limit, which the field of
// the spec says; nil and zero mean 60 seconds. Failure tells what did not get done by
// then.
func Within(ctx context.Context, field string, limit *duration.Duration) (context.Context, context.CancelFunc) {
	t := &timeout{field: field, after: defaultTimeout}
	if limit != nil && limit.Duration > 0 {
		t.after = limit.Duration
	}
	return context.WithTimeoutCause(ctx, t.after, t)
}

// Failure returns the *loop.Failure for err, with which something ended that was done
// with ctx. One that is in err already is kept; nil stays nil.
func (t Table) Failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*loop.Failure](err); ok {
		return err
	}
	if late, ok := errors.AsType[*timeout](context.Cause(ctx)); ok {
		return loop.Retry(t.Other, fmt.Errorf("not done within %s of %s: %w", late.field, late.after, err))
	}
	reason := t.Other
	if c := Find(t.Causes, err); c != nil {
		if c.final {
			return loop.Stall(c.Reason, err)
		}
		reason = c.Reason
	}
	if busy, ok := errors.AsType[*upstream.Busy](err); ok {
		return loop.RetryAfter(reason, max(busy.After, time.Second), err)
	}
	if after := gitrepo.RetryAfter(err); after > 0 {
		return loop.RetryAfter(reason, after, err)
	}
	return loop.Retry(reason, err)
}

// Find returns the first of the causes that err is, or nil.
func Find(causes []Cause, err error) *Cause {
	for i := range causes {
		if errors.Is(err, causes[i].is) {
			return &causes[i]
		}
	}
	return nil
}
