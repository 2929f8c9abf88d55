package loop

import (
	"context"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Keeper is a Worker that looks after what objects have made while they are
// suspended.
type Keeper[T Object] interface {
	// Keep says what is true of a suspended object, as Worker.Reconcile does. It
	// returns nil and nil, and nothing is written, when that is what status says
	// already. It must not move the object on: nothing newer is looked for.
	Keep(ctx context.Context, obj T) (*Done, error)
}

// keep lets a Keeper correct the status of a suspended object. All others are left
// alone.
func (r *Reconciler[T]) keep(ctx context.Context, obj T) error {
	keeper, ok := r.worker.(Keeper[T])
	if !ok {
		return nil
	}
	before := obj.DeepCopyObject().(T)
	done, err := keeper.Keep(ctx, obj)
	if ctx.Err() != nil || done == nil && err == nil {
		return nil
	}
	if done == nil {
		done = &Done{}
	}
	f := failureOf(err)
	report(obj, *done, f)
	w := &writer[T]{r: r, latest: before}
	if err := w.write(ctx, obj); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.tell(before, obj, *done, f)
	if f != nil && news(before, obj) {
		ctrl.LoggerFrom(ctx).Error(redacted(f), "a suspended object has lost something", "reason", f.Reason)
	}
	return nil
}
