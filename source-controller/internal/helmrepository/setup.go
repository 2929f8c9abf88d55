package helmrepository

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// looks is how many repositories are asked at once: a thousand of them at an
// interval of a minute and 200 ms each keep four busy, and the rest is for slow ones.
const looks = 128

// Setup registers the kind with the manager of env.
func (r *Reconciler) Setup(env *process.Env) error {
	o := env.Controller()
	o.MaxConcurrentReconciles = max(o.MaxConcurrentReconciles, looks)
	b := ctrl.NewControllerManagedBy(env.Manager).
		For(&sourcev1.HelmRepository{}, builder.WithPredicates(loop.Triggers())).
		WithOptions(o)
	if r.o.Bell != nil {
		b = b.WatchesRawSource(r.o.Bell)
	}
	return b.Complete(r.entry(env))
}

// door keeps repositories of the type oci away from the loop: they are static.
type door struct {
	worker *Reconciler
	client client.Client
	owner  client.FieldOwner
	loop   reconcile.Reconciler
}

func (r *Reconciler) entry(env *process.Env) *door {
	return &door{r, env.Manager.GetClient(), client.FieldOwner(env.FieldOwner), loop.New[*sourcev1.HelmRepository](env, r)}
}

// Reconcile implements reconcile.Reconciler.
func (d *door) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	repo := &sourcev1.HelmRepository{}
	if err := d.client.Get(ctx, req.NamespacedName, repo); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if repo.Spec.Type != sourcev1.HelmRepositoryTypeOCI {
		return d.loop.Reconcile(ctx, req)
	}
	if repo.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{}, client.IgnoreNotFound(d.leave(ctx, repo))
}

// leave removes what is left of a time when the repository was reconciled.
func (d *door) leave(ctx context.Context, repo *sourcev1.HelmRepository) error {
	s := &repo.Status
	if len(s.Conditions) > 0 || s.Artifact != nil || s.URL != "" || s.ObservedGeneration > 0 || s.LastHandledReconcileAt != "" {
		before := repo.DeepCopy()
		repo.Status = sourcev1.HelmRepositoryStatus{}
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := d.client.Status().Patch(ctx, repo, patch, d.owner); err != nil {
			return fmt.Errorf("removing the status of a static object: %w", err)
		}
	}
	before := repo.DeepCopy()
	if !controllerutil.RemoveFinalizer(repo, loop.Finalizer) {
		return nil
	}
	if err := d.worker.Finalize(ctx, repo); err != nil {
		return err
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := d.client.Patch(ctx, repo, patch, d.owner); err != nil {
		return fmt.Errorf("removing the finalizer of a static object: %w", err)
	}
	d.worker.o.Recorder.Normal(repo, sourcev1.MigrationReason, "removed the finalizer: a HelmRepository of the type oci is a static object", nil)
	return nil
}
