package loop

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/weirhq/weir/internal/process"
)

// A kind that is not served yet is looked for this often.
const minLook, maxLook = time.Second, time.Minute

// WatchWhenServed makes c watch obj's kind from when the cluster serves it. So
// a controller runs with its own definitions alone, and finds those of the
// others when they are installed later.
func WatchWhenServed(env *process.Env, c controller.Controller, obj client.Object, h handler.EventHandler, p ...predicate.Predicate) error {
	gvk, err := apiutil.GVKForObject(obj, env.Manager.GetScheme())
	if err != nil {
		return err
	}
	return env.Manager.Add(manager.RunnableFunc(func(ctx context.Context) error {
		for pause := minLook; ; pause = min(2*pause, maxLook) {
			if _, err := env.Manager.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
		if err := c.Watch(source.Kind(env.Manager.GetCache(), obj, h, p...)); err != nil {
			return fmt.Errorf("watching %s: %w", gvk.Kind, err)
		}
		return nil
	}))
}

// Bell brings objects back to their reconciler on somebody else's word. It is
// a source.Source; the zero value is ready.
type Bell struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early []reconcile.Request // rung before the controller started
}

// Start implements source.Source.
func (b *Bell) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = queue
	for _, req := range b.early {
		queue.Add(req)
	}
	b.early = nil
	return nil
}

// Ring puts an object into the queue. It never blocks.
func (b *Bell) Ring(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	req := reconcile.Request{NamespacedName: key}
	if b.queue == nil {
		b.early = append(b.early, req)
		return
	}
	b.queue.Add(req)
}
