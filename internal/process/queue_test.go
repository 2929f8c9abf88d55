package process

import (
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Whatever a queue is about when it shuts down, its workers come to their end.
func TestQueueShutsDown(t *testing.T) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 200 {
			shutDownBusy()
		}
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("a worker waits for ever")
	}
}

// shutDownBusy shuts a queue down while items come in, are handed out and are done.
func shutDownBusy() {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Hour, time.Hour)
	q := newQueue("some", limiter, logr.Discard())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				item, shutdown := q.Get()
				if shutdown {
					return
				}
				q.Done(item)
			}
		})
	}
	for i := range 20 {
		workers.Go(func() {
			q.Add(request(string(rune('a' + i))))
			if i == 10 {
				q.ShutDown()
			}
		})
	}
	workers.Wait()
}
