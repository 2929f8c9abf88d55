package ocirepository

import (
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// looks is how many objects are looked at at once: a thousand of them at an
// interval of a minute and 200 ms each keep four busy, and the rest is for slow ones.
const looks = 128

// Setup registers the kind with the manager of env.
func (r *Reconciler) Setup(env *process.Env) error {
	o := env.Controller()
	o.MaxConcurrentReconciles = max(o.MaxConcurrentReconciles, looks)
	b := ctrl.NewControllerManagedBy(env.Manager).
		For(&sourcev1.OCIRepository{}, builder.WithPredicates(loop.Triggers())).
		WithOptions(o)
	if r.o.Bell != nil {
		b = b.WatchesRawSource(r.o.Bell)
	}
	return b.Complete(loop.New[*sourcev1.OCIRepository](env, r))
}
