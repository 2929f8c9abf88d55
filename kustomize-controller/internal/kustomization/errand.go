package kustomization

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

// errand is work for one object that goes on without a worker when it takes long, so
// that it costs only those who wait for it.
type errand struct {
	began  time.Time
	done   chan struct{}
	cancel context.CancelFunc

	// To be read after done. Of a panic there is an error, too.
	err      error
	panicked any
	ended    time.Time
}

// errWaiting says that an errand goes on without a worker; the object is brought
// back at its end.
type errWaiting struct {
	message string
	left    time.Duration // of the object's timeout
}

func (e *errWaiting) Error() string { return e.message }

// start has work done on nobody's time. Who waited for less than patience is there
// still; after that the object is brought back.
func (r *Reconciler) start(e *errand, k *kustomizev1.Kustomization, patience time.Duration, work func(context.Context) error) {
	e.began, e.done = time.Now(), make(chan struct{})
	var ctx context.Context
	ctx, e.cancel = context.WithTimeout(r.running, k.GetTimeout())
	key := client.ObjectKeyFromObject(k)
	go func() {
		defer e.cancel()
		e.run(ctx, work)
		if r.ring != nil && time.Since(e.began) >= patience {
			r.ring(key)
		}
	}()
}

// run ends the errand. A panic is no reason for the process to end.
func (e *errand) run(ctx context.Context, work func(context.Context) error) {
	defer close(e.done)
	defer func() {
		e.ended = time.Now()
		if p := recover(); p != nil {
			e.panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			e.err = fmt.Errorf("internal error (please report it): %v", p)
		}
	}()
	e.err = work(ctx)
}
