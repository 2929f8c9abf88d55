package loop

import (
	"context"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is how long a reconciliation may run before status says that it
// runs. Most are done before that, and cost one status write instead of two.
const patience = time.Second

type progressKey struct{}

// Progress says what the Worker is doing now, such as "cloning branch main".
// People see it in the Ready condition if the work takes longer than a second.
func Progress(ctx context.Context, message string) {
	if p, ok := ctx.Value(progressKey{}).(*note); ok {
		p.mu.Lock()
		p.message = message
		p.mu.Unlock()
	}
}

type note struct {
	mu      sync.Mutex
	message string
}

func (n *note) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.message
}

// progress writes at most one early status while a Worker runs.
type progress[T Object] struct {
	cancel context.CancelFunc
	ended  chan struct{}
	latest T // what the API server has, as far as this reconciliation knows
}

func (r *Reconciler[T]) watchProgress(ctx context.Context, before T) (context.Context, *progress[T]) {
	n := &note{message: "reconciliation in progress"}
	timer, cancel := context.WithCancel(ctx)
	p := &progress[T]{cancel: cancel, ended: make(chan struct{}), latest: before}
	go func() {
		defer close(p.ended)
		select {
		case <-timer.Done():
			return
		case <-time.After(patience):
		}
		p.latest = r.announce(ctx, before, n.text())
	}()
	return context.WithValue(ctx, progressKey{}, n), p
}

// announce writes that the object is being worked on. That it could not is no
// reason to stop: the status at the end is what counts.
func (r *Reconciler[T]) announce(ctx context.Context, before T, message string) T {
	busy := before.DeepCopyObject().(T)
	conditions := busy.GetConditions()
	ready := condition(meta.ReadyCondition, meta.ProgressingReason, message)
	ready.Status = metav1.ConditionUnknown
	set(&conditions, busy.GetGeneration(), ready)
	set(&conditions, busy.GetGeneration(), condition(meta.ReconcilingCondition, meta.ProgressingReason, message))
	busy.SetConditions(conditions)
	sent := busy.DeepCopyObject().(T)
	if err := r.client.Status().Patch(ctx, sent, client.MergeFrom(before), r.owner); err != nil {
		return before
	}
	r.written.note(sent)
	return busy
}

// stop ends the watch and returns the state that the final status write has
// to be compared with.
func (p *progress[T]) stop() T {
	p.cancel()
	<-p.ended
	return p.latest
}
