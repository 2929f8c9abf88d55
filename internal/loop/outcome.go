package loop

import (
	"errors"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
)

// Done says what is true after a Worker did its work.
type Done struct {
	// Reason and Message become those of Ready=True. An empty Reason means
	// "Succeeded".
	Reason, Message string
	// Event and EventReason are what people are told when Ready changed; empty
	// means Message and Reason.
	Event, EventReason string
	// Changed tells the event even if Ready reads the same as before, and even if
	// an error comes with it, which then has an event of its own.
	Changed bool
	// Quiet records no event, because the Worker has recorded its own. It may come
	// with an error, too.
	Quiet bool
	// Metadata goes with the event, under bare keys such as "revision".
	Metadata map[string]string
	// Pending means that the work goes on without a worker, for example until
	// objects are healthy: Ready becomes Unknown and Reconciling True, with
	// Reason (default "Progressing") and Message. An event must bring the
	// object back; After is the latest time.
	Pending bool
	// After is when to come back; zero means after the object's interval.
	After time.Duration
}

// Failure is an error that knows what people should be told about it and when
// it is worth trying again.
type Failure struct {
	// Reason is CamelCase and becomes the reason of Ready=False.
	Reason string
	// After is when to try again; zero leaves that to the queue's back-off.
	After time.Duration
	// Waiting means that nothing is broken, something else must come first.
	Waiting bool
	// Final means that only an edit of the object can help.
	Final bool
	// Err is what happened.
	Err error
}

// Error implements error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Retry reports a failure that the next attempt may not meet. The queue backs
// off exponentially.
func Retry(reason string, err error) error { return &Failure{Reason: reason, Err: err} }

// RetryAfter is Retry with a fixed delay.
func RetryAfter(reason string, after time.Duration, err error) error {
	return &Failure{Reason: reason, After: after, Err: err}
}

// Wait reports that something else must happen first. An event usually brings
// the object back before the delay is over.
func Wait(reason string, after time.Duration, err error) error {
	return &Failure{Reason: reason, After: after, Waiting: true, Err: err}
}

// Stall reports a failure that only an edit of the object can cure.
func Stall(reason string, err error) error { return &Failure{Reason: reason, Final: true, Err: err} }

// ErrLater says that there is work to do, and that it can wait for all other
// objects in the queue. Nothing is written; the object comes back after them.
var ErrLater = errors.New("later")

// failureOf finds the Failure in err's chain. The text of the whole chain is
// kept; what nobody classified may pass, so it is tried again.
func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		whole := *f
		whole.Err = err
		return &whole
	}
	return &Failure{Reason: meta.FailedReason, Err: err}
}
