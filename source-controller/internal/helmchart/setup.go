package helmchart

import (
	"context"

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

// sourceIndex finds charts by "<kind>/<name>" of their source.
const sourceIndex = "spec.sourceRef"

// looks is how many charts are looked for at once, which is waiting for a registry
// or cheap.
const looks = 128

// Setup registers the kind with the manager of env. A chart is looked at when it
// changes, and when its source has a new artifact.
func (r *Reconciler) Setup(ctx context.Context, env *process.Env) error {
	err := env.Manager.GetFieldIndexer().IndexField(ctx, &sourcev1.HelmChart{}, sourceIndex, func(obj client.Object) []string {
		ref := obj.(*sourcev1.HelmChart).Spec.SourceRef
		return []string{ref.Kind + "/" + ref.Name}
	})
	if err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(env.Manager).For(&sourcev1.HelmChart{}, builder.WithPredicates(loop.Triggers()))
	for _, kind := range []string{sourcev1.HelmRepositoryKind, sourcev1.GitRepositoryKind, sourcev1.BucketKind} {
		b = b.Watches(newSource(kind), handler.EnqueueRequestsFromMapFunc(r.charts(kind)), builder.WithPredicates(sourceChanged()))
	}
	if r.o.Bell != nil {
		b = b.WatchesRawSource(r.o.Bell)
	}
	o := env.Controller()
	o.MaxConcurrentReconciles = max(o.MaxConcurrentReconciles, looks)
	return b.WithOptions(o).Complete(loop.New[*sourcev1.HelmChart](env, r))
}

// charts returns a function that finds the charts of a source of the kind.
func (r *Reconciler) charts(kind string) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []reconcile.Request {
		list := &sourcev1.HelmChartList{}
		if err := r.o.Client.List(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFields{sourceIndex: kind + "/" + obj.GetName()}); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "finding the charts of a source failed", "source", obj.GetName())
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
		return out
	}
}

// sourceChanged lets through what can make another chart: a new artifact, and
// another spec of a source that has none because it is static.
func sourceChanged() predicate.Predicate {
	return predicate.Funcs{
		DeleteFunc: func(event.DeleteEvent) bool { return true },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(source)
			now, ok2 := e.ObjectNew.(source)
			if !ok1 || !ok2 {
				return false
			}
			if repo, ok := now.(*sourcev1.HelmRepository); ok && repo.Spec.Type == sourcev1.HelmRepositoryTypeOCI {
				return before.GetGeneration() != now.GetGeneration()
			}
			a := now.GetArtifact()
			return a != nil && (!before.GetArtifact().HasDigest(a.Digest) || !before.GetArtifact().HasRevision(a.Revision))
		},
	}
}
