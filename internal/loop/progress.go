package loop

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is how long a reconciliation may run before status says that it
// runs. Most are done before that, and cost one status write instead of two.
const patience = time.Second

type writerKey struct{}

// Progress says what the Worker is doing now, such as "cloning branch main".
// People see it in the Ready condition if the work takes longer than a second.
// A Worker that only looks whether there is something to do says nothing: then
// an object that is ready stays so, however slow the server is that is asked.
func Progress(ctx context.Context, message string) {
	if w, ok := ctx.Value(writerKey{}).(interface{ progress(string) }); ok {
		w.progress(message)
	}
}

// Save writes the status fields of obj now, before the Worker is done. It is
// for what must be on record before something happens, such as an inventory.
// Conditions are not written; those follow from the outcome.
func Save[T Object](ctx context.Context, obj T) error {
	w, ok := ctx.Value(writerKey{}).(*writer[T])
	if !ok {
		return errors.New("loop.Save outside of a reconciliation")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := obj.DeepCopyObject().(T)
	now.SetConditions(w.latest.GetConditions())
	return w.write(ctx, now)
}

// writer is the way to the status of one object during one reconciliation.
type writer[T Object] struct {
	r      *Reconciler[T]
	cancel context.CancelFunc
	ended  chan struct{}
	busy   chan struct{} // closed when the Worker says what it does
	once   sync.Once

	mu      sync.Mutex
	message string
	latest  T // what the API server has, as far as this reconciliation knows
}

func (r *Reconciler[T]) begin(ctx context.Context, before T) (context.Context, *writer[T]) {
	timer, cancel := context.WithCancel(ctx)
	w := &writer[T]{r: r, cancel: cancel, ended: make(chan struct{}), busy: make(chan struct{}), latest: before, message: "reconciliation in progress"}
	go func() {
		defer close(w.ended)
		select {
		case <-timer.Done():
			return
		case <-time.After(patience):
		}
		if settled(before) {
			select {
			case <-timer.Done():
				return
			case <-w.busy:
			}
		}
		w.announce(ctx)
	}()
	return context.WithValue(ctx, writerKey{}, w), w
}

// settled tells whether nothing is asked of an object but to be looked at.
func settled(obj Object) bool {
	at, _ := meta.ReconcileAnnotationValue(obj.GetAnnotations())
	return obj.GetObservedGeneration() == obj.GetGeneration() && at == obj.GetLastHandledReconcileAt() &&
		obj.GetDeletionTimestamp().IsZero() && apimeta.IsStatusConditionTrue(obj.GetConditions(), meta.ReadyCondition)
}

func (w *writer[T]) progress(message string) {
	w.once.Do(func() { close(w.busy) })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.message = message
}

// announce writes that the object is being worked on. That it could not is no
// reason to stop: the status at the end is what counts.
func (w *writer[T]) announce(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	busy := w.latest.DeepCopyObject().(T)
	conditions := busy.GetConditions()
	ready := condition(meta.ReadyCondition, meta.ProgressingReason, w.message)
	ready.Status = metav1.ConditionUnknown
	set(&conditions, busy.GetGeneration(), ready)
	set(&conditions, busy.GetGeneration(), condition(meta.ReconcilingCondition, meta.ProgressingReason, w.message))
	busy.SetConditions(conditions)
	_ = w.write(ctx, busy)
}

// write makes the status at the API server that of now. The caller holds mu.
func (w *writer[T]) write(ctx context.Context, now T) error {
	if equality.Semantic.DeepEqual(w.latest, now) {
		return nil
	}
	sent := now.DeepCopyObject().(T) // the answer must not replace what the Worker set
	if err := w.r.client.Status().Patch(ctx, sent, client.MergeFrom(w.latest), w.r.owner); err != nil {
		return err
	}
	w.r.written.note(sent)
	w.latest = now
	return nil
}

// end stops announcing. Afterwards only the reconciliation itself writes.
func (w *writer[T]) end() {
	w.cancel()
	<-w.ended
}
