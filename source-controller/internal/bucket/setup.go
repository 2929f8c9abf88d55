package bucket

import (
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// looks is how many buckets are listed at once, which is mostly waiting.
const looks = 32

// Setup registers the kind with the manager of env.
func (r *Reconciler) Setup(env *process.Env) error {
	o := env.Controller()
	o.MaxConcurrentReconciles = max(o.MaxConcurrentReconciles, looks)
	b := ctrl.NewControllerManagedBy(env.Manager).
		For(&sourcev1.Bucket{}, builder.WithPredicates(loop.Triggers())).
		WithOptions(o)
	if r.o.Bell != nil {
		b = b.WatchesRawSource(r.o.Bell)
	}
	return b.Complete(loop.New[*sourcev1.Bucket](env, r))
}
