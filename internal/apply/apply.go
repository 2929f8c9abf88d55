package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

type metaClient = metadata.ResourceInterface

// task is one object on its way through a stage.
type task struct {
	object   *build.Object
	ref      Ref
	owner    types.NamespacedName
	resource *resource
	key      drift.Key
	sum      uint64
	step     step
	row      drift.Row
	known    bool // row is there
	dirt     *dirt
	force    bool
	recheck  bool // it is to be asked for in any case
	defined  bool // the Set holds the definition of its kind
	ignored  []pointer

	keepOwners bool // it may not be taken from another owner
	refused    bool // it failed

	payload    payload
	fresh      bool                          // it does not exist yet
	live       *metav1.PartialObjectMetadata // as it is in the cluster, when that was read
	pending    bool                          // an apply is due
	first      bool                          // that apply stands for a dry run, too
	version    string                        // of the object when its ignored fields were read
	generation int64                         // and its generation
	going      bool                          // the answer says that the object is being deleted
	uid        types.UID                     // of the answer
	change     Change
}

// fail returns an error about the task's object.
func (t *task) fail(op string, err error) error {
	if t.first {
		op = "dry run" // which is what the first apply is for the others
	}
	return &ObjectError{Ref: t.ref, Op: op, Err: err}
}

// Apply makes the cluster's objects those of the Set, as the package comment
// describes. Before anything of a stage is written, record is called with all
// objects of the stages so far, so that the caller can note down what it is
// about to own; its error ends the Apply. An object that fails does not keep
// the others of its stage from being written, but later stages wait for the
// next attempt. Errors name the object and what to do; several are joined.
func (a *Applier) Apply(ctx context.Context, set Set, record func([]Ref) error) (*Result, error) {
	result := &Result{Inventory: make([]Ref, 0, len(set.Objects))}
	if a.broken != nil {
		return result, a.broken
	}
	plan := newPlan(a, set)
	defer plan.release()
	result.Inventory = plan.inventory()
	var done []Ref
	var refused []error // with Set.ContinueOnError
	for st := range stages {
		tasks, errs := plan.stage(ctx, st)
		if len(tasks) == 0 && len(errs) == 0 {
			continue
		}
		first := a.first(tasks, set)
		if len(errs) == 0 || set.ContinueOnError {
			errs = append(errs, a.checkAll(ctx, tasks, first)...)
		}
		if errs = a.goOn(ctx, set, errs, &refused); len(errs) > 0 {
			return result, stopped(ctx, errs)
		}
		tasks = slices.DeleteFunc(tasks, func(t *task) bool { return t.refused })
		if first != nil {
			if err := a.writeFirst(ctx, first, done, record); err != nil {
				return result, stopped(ctx, []error{err})
			}
		}
		for _, t := range tasks {
			done = append(done, t.ref)
		}
		if anyPending(tasks) && record != nil {
			if err := record(done); err != nil {
				return result, err
			}
		}
		errs = a.each(ctx, tasks, a.write)
		for _, t := range tasks {
			if t.change.Action != "" {
				result.Changes = append(result.Changes, t.change)
			}
		}
		if errs = a.goOn(ctx, set, errs, &refused); len(errs) == 0 && st == definitions {
			errs = a.goOn(ctx, set, a.each(ctx, tasks, a.awaitDefinition), &refused)
		}
		if len(errs) > 0 {
			return result, stopped(ctx, errs)
		}
		result.Inventory = plan.inventory() // scopes are known now
	}
	if len(refused) > 0 {
		return result, join(refused)
	}
	plan.finish()
	return result, nil
}

// goOn puts errors aside when the Set wants that, and there is time left; it
// returns those that end the Apply.
func (a *Applier) goOn(ctx context.Context, set Set, errs []error, aside *[]error) []error {
	if !set.ContinueOnError || ctx.Err() != nil {
		return errs
	}
	*aside = append(*aside, errs...)
	return nil
}

func anyPending(tasks []*task) bool {
	for _, t := range tasks {
		if t.pending {
			return true
		}
	}
	return false
}

// stopped says that the time was up, if it was, instead of repeating it for each object.
func stopped(ctx context.Context, errs []error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped before %d objects were applied: %w: %w", len(errs), err, errs[0])
	}
	return join(errs)
}

// check finds out what an apply of the object would do, without doing it.
func (a *Applier) check(ctx context.Context, t *task) error {
	switch t.step {
	case nothing:
		t.change.Action = Unchanged
		return nil
	case skip:
		t.change.Action = Skipped
		t.resource.table.Release(t.key)
		t.resource.clean(t.key)
		return nil
	case postpone:
		t.change.Action, t.change.Manager, t.change.Fight = Skipped, t.dirt.manager, true
		// Of several notices for an owner the queue keeps the earliest only.
		a.tell(t.owner, time.Until(t.dirt.due))
		return nil
	}
	if err := a.compose(ctx, t); err != nil {
		return err
	}
	switch t.step {
	case look:
		return a.look(ctx, t)
	case send:
		t.pending = true
		return a.claim(ctx, t)
	case compare:
		return a.compare(ctx, t)
	}
	return a.preview(ctx, t)
}

// compose makes the body of the apply.
func (a *Applier) compose(ctx context.Context, t *task) (err error) {
	if t.payload, err = a.newPayload(t.object, t.ref, t.owner); err != nil {
		return t.fail("reading", err)
	}
	if len(t.ignored) > 0 && t.step != look {
		if err := a.leaveOut(ctx, t); err != nil {
			return t.fail("reading", err)
		}
	}
	return nil
}

// look decides about an object that is only created, never changed.
func (a *Applier) look(ctx context.Context, t *task) error {
	live, err := a.get(ctx, t)
	if err != nil {
		return t.fail("reading", err)
	}
	if live != nil {
		t.change.Action = Skipped
		return nil
	}
	return a.preview(ctx, t)
}

// preview dry-runs the apply of a new or changed object.
func (a *Applier) preview(ctx context.Context, t *task) error {
	m, err := a.patch(ctx, t, t.payload.json, true)
	for p, began := newPause(20*time.Millisecond, time.Second), time.Now(); err != nil && t.defined && noKind(err) && time.Since(began) < settleTimeout; {
		if p.wait(ctx) != nil { // its definition is new, not every API server has it yet
			break
		}
		m, err = a.patch(ctx, t, t.payload.json, true)
	}
	switch {
	case err == nil:
	case t.force && isImmutable(err):
		if err := a.recreatable(ctx, t, err); err != nil {
			return err
		}
		t.pending = true
		return a.claim(ctx, t)
	default:
		if noKind(err) {
			a.mapper.stale()
			err = fmt.Errorf("%w: %w", ErrNoKind, err)
		}
		return t.fail("dry run", err)
	}
	t.fresh = m.ResourceVersion == ""
	if !t.fresh && a.asLive(t, m) && t.resource.table.Confirm(t.key, t.row, t.sum, t.payload.expires) {
		t.change.Action = Unchanged
		return nil
	}
	t.pending = true
	if t.fresh {
		return nil
	}
	return a.claim(ctx, t)
}

// asLive reports whether a dry run's answer is the object as the watch saw it:
// nothing would change. A change of a value alone moves nothing but the time of
// our entry, which has whole seconds, so a live entry as young as that is not
// proof enough.
func (a *Applier) asLive(t *task, m *metav1.PartialObjectMetadata) bool {
	p := t.resource.table.Policy
	pr, ok := p.Take(m)
	return ok && t.known && pr == t.row.Print && pr.Marks&drift.Strip == 0 &&
		time.Since(time.Unix(int64(pr.OwnTime), 0)) > drift.Blur
}

// claim makes sure that an existing object may be written: it is not marked to
// be left alone, and if it is another owner's, that it may be taken. Only an
// object that the watch has not shown has to be read for this.
func (a *Applier) claim(ctx context.Context, t *task) error {
	current, found := types.NamespacedName{}, false
	switch {
	case t.dirt != nil && t.dirt.verdict == drift.Taken:
		current, found = a.ownerOf(t.dirt.live), true
	case t.known && t.row.Owner == number(t.owner):
		return nil
	case t.known:
		current, found = a.owner(t.row.Owner)
	}
	if !found {
		live, err := a.get(ctx, t)
		if err != nil || live == nil {
			if err != nil {
				return t.fail("reading", err)
			}
			return nil
		}
		t.live, current = live, a.ownerOf(live)
		marks := marksOf(a.options.OwnerGroup, live.Labels, live.Annotations)
		if marks&drift.Leave != 0 {
			t.pending, t.change.Action = false, Skipped
			return nil
		}
	}
	if current.Name == "" || current == t.owner {
		return nil
	}
	if t.keepOwners || a.options.MayTake != nil && !a.options.MayTake(t.ref, current, t.owner) {
		return t.fail("apply", &OwnedError{Ref: t.ref, Owner: current})
	}
	t.change.From = current
	return nil
}
