package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/local/internal/board"
)

// pollInterval bounds how exact the shown times are.
const pollInterval = 5 * time.Millisecond

// tailLines is how much of a controller's log is shown when a step fails.
const tailLines = 15

// check looks at the world. It returns what it sees, and whether that is what is waited for.
type check func(ctx context.Context) (seen string, done bool, err error)

// task is a row of a table: something that happens because of a controller.
type task struct {
	label, controller string
	look              check
}

// table waits for one task after the other, and shows how long after since each was done. The first
// that is not done in time is the error.
func (d *demo) table(ctx context.Context, since time.Time, tasks ...task) error {
	labels := make([]string, 0, len(tasks))
	for _, t := range tasks {
		labels = append(labels, t.label)
	}
	rows, end := d.board.Rows(since, labels...)
	defer end()
	for i, t := range tasks {
		if err := d.wait(ctx, rows[i], t.controller, t.look); err != nil {
			return err
		}
	}
	return nil
}

// wait looks again and again until check is done. What keeps it from that is an error that shows the
// end of the log of the controller whose work it is.
func (d *demo) wait(ctx context.Context, row *board.Row, controller string, look check) error {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	p := d.controllers.Process(controller)
	last := "nothing"
	for {
		seen, done, err := look(ctx)
		switch {
		case done:
			row.Done(seen)
			return nil
		case err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil:
			row.Fail(err.Error())
			return err
		case err == nil && seen != "":
			row.Update(seen)
			last = seen
		}
		var why string
		select {
		case <-tick.C:
			continue
		case <-p.Ended():
			why = controller + " ended"
		case <-ctx.Done():
			why = "not within " + d.Timeout.String()
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
		}
		row.Fail(last)
		return &failure{
			text: fmt.Sprintf("%s: %s; last seen: %s", row.Label(), why, last),
			log:  fmt.Sprintf("the end of the log of %s:\n%s", controller, p.Tail(tailLines)),
		}
	}
}

// failure is something that did not happen.
type failure struct{ text, log string }

// Error implements error.
func (f *failure) Error() string { return f.text + "; " + f.log }

// conditioned is an object with conditions.
type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
	GetObservedGeneration() int64
}

// ready tells whether obj says Ready=True about its present generation, and what it says.
func ready(obj conditioned) (message string, ok bool) {
	c := apimeta.FindStatusCondition(obj.GetConditions(), "Ready")
	if c == nil {
		return "no status yet", false
	}
	return c.Message, c.Status == metav1.ConditionTrue && obj.GetObservedGeneration() == obj.GetGeneration()
}

// isReady is a check that waits for obj to be ready.
func (d *demo) isReady(obj conditioned) check {
	return func(ctx context.Context) (string, bool, error) {
		if err := d.client.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return "", false, err
		}
		seen, ok := ready(obj)
		return seen, ok, nil
	}
}
