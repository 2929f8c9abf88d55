package gitrepository

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// includesIndex finds repositories by what they include.
const includesIndex = "spec.include.repository.name"

// looks is how many repositories are looked at at once. A look waits for a server
// and costs next to nothing: a thousand of them at an interval of a minute and 200 ms
// each keep four busy, and the rest is for servers that say nothing until the timeout.
// Packing takes turns.
const looks = 128

// Setup registers the kind with the manager of env. A repository is looked at when
// it changes, and when one that it includes has a new artifact.
func (r *Reconciler) Setup(ctx context.Context, env *process.Env) error {
	err := env.Manager.GetFieldIndexer().IndexField(ctx, &sourcev1.GitRepository{}, includesIndex, func(obj client.Object) []string {
		var names []string
		for _, in := range obj.(*sourcev1.GitRepository).Spec.Include {
			names = append(names, in.GitRepositoryRef.Name)
		}
		slices.Sort(names)
		return slices.Compact(names)
	})
	if err != nil {
		return err
	}
	o := env.Controller()
	o.MaxConcurrentReconciles = max(o.MaxConcurrentReconciles, looks)
	b := ctrl.NewControllerManagedBy(env.Manager).
		For(&sourcev1.GitRepository{}, builder.WithPredicates(loop.Triggers())).
		Watches(&sourcev1.GitRepository{}, handler.EnqueueRequestsFromMapFunc(r.includers), builder.WithPredicates(artifactChanged())).
		WithOptions(o)
	if r.o.Bell != nil {
		b = b.WatchesRawSource(r.o.Bell)
	}
	return b.Complete(loop.New[*sourcev1.GitRepository](env, r))
}

// includers returns the repositories that include obj.
func (r *Reconciler) includers(ctx context.Context, obj client.Object) []reconcile.Request {
	list := &sourcev1.GitRepositoryList{}
	if err := r.o.Client.List(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFields{includesIndex: obj.GetName()}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "finding the repositories that include another failed", "included", obj.GetName())
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}})
	}
	return out
}

func artifactChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, // the includer reads it at its own start
		DeleteFunc: func(event.DeleteEvent) bool { return true },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*sourcev1.GitRepository)
			now, ok2 := e.ObjectNew.(*sourcev1.GitRepository)
			if !ok1 || !ok2 || now.Status.Artifact == nil {
				return false
			}
			a := now.Status.Artifact
			return !before.Status.Artifact.HasDigest(a.Digest) || !before.Status.Artifact.HasRevision(a.Revision)
		},
	}
}
