package apply

import (
	"context"
	"errors"
)

// One changed object of a stage needs no dry run: when all others have passed
// theirs, its apply is sent alone, before anything else of the stage is written.
// If it is refused, nothing was changed, as if a dry run had been. That is one
// request less for each stage, and for the change of a single object one
// instead of two.

// first chooses that object; nil when there is none. It is one that this process
// has applied and the watch has seen unharmed, so that whose it is and what may be
// done to it need not be asked.
func (a *Applier) first(tasks []*task, set Set) *task {
	if set.ContinueOnError {
		return nil
	}
	for _, t := range tasks {
		if t.step == check && t.known && t.row.Applied && t.row.Owner == number(t.owner) &&
			t.dirt == nil && !t.force && !t.defined && !t.recheck {
			return t
		}
	}
	return nil
}

// checkAll checks all but the first; that one as well when another is refused,
// so that the error tells of all of them.
func (a *Applier) checkAll(ctx context.Context, tasks []*task, first *task) []error {
	errs := a.each(ctx, tasks, func(ctx context.Context, t *task) error {
		if t == first {
			return nil
		}
		return a.check(ctx, t)
	})
	if first == nil || len(errs) == 0 {
		return errs
	}
	return append(errs, a.each(ctx, []*task{first}, a.check)...)
}

// writeFirst writes the first object. The caller's record holds it before that,
// and what else the stage is about to own only when it was accepted.
func (a *Applier) writeFirst(ctx context.Context, t *task, done []Ref, record func([]Ref) error) error {
	if record != nil {
		if err := record(append(done[:len(done):len(done)], t.ref)); err != nil {
			return err
		}
	}
	return errors.Join(a.each(ctx, []*task{t}, func(ctx context.Context, t *task) error {
		if err := a.compose(ctx, t); err != nil {
			return err
		}
		t.pending, t.first = true, true
		defer func() { t.pending, t.first = false, false }()
		return a.write(ctx, t)
	})...)
}
