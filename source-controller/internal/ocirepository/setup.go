package ocirepository

import (
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// Setup registers the kind with the manager of env.
func (r *Reconciler) Setup(env *process.Env) error {
	return ctrl.NewControllerManagedBy(env.Manager).
		For(&sourcev1.OCIRepository{}, builder.WithPredicates(loop.Triggers())).
		WithOptions(env.Controller()).
		Complete(loop.New[*sourcev1.OCIRepository](env, r))
}
