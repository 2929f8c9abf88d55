package kustomization

import (
	"context"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// Names of the indexes over the cached Kustomizations.
const (
	bySource     = "spec.sourceRef"
	byDependency = "spec.dependsOn"
	byExpression = "spec.dependsOn.readyExpr"
	byConfig     = "configs"
)

// Setup registers the reconciler with env. bell rings for Kustomizations
// whose objects drifted or changed their health.
func (r *Reconciler) Setup(ctx context.Context, env *process.Env, bell *loop.Bell) error {
	r.running, r.ring = ctx, bell.Ring
	for name, values := range indexes {
		if err := env.Manager.GetFieldIndexer().IndexField(ctx, &kustomizev1.Kustomization{}, name, func(obj client.Object) []string {
			return values(obj.(*kustomizev1.Kustomization))
		}); err != nil {
			return err
		}
	}
	c, err := ctrl.NewControllerManagedBy(env.Manager).
		For(&kustomizev1.Kustomization{}, builder.WithPredicates(loop.Triggers())).
		Watches(&kustomizev1.Kustomization{},
							r.usersBy(byDependency, ""), builder.WithPredicates(readinessChanged())).
		Watches(&kustomizev1.Kustomization{}, // an expression may look at any field
			r.usersBy(byExpression, ""), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		Watches(&kustomizev1.Kustomization{}, r.released(), builder.WithPredicates(gone())).
		WatchesRawSource(bell).
		WithOptions(env.Controller()).
		Build(loop.New(env, r))
	if err != nil {
		return err
	}
	if r.WatchConfigs {
		for _, kind := range []string{"Secret", "ConfigMap"} {
			if err := env.Manager.Add(r.watchConfigs(env, c, kind)); err != nil {
				return err
			}
		}
	}
	for kind, make := range producers {
		if kind == sourcev1.ExternalArtifactKind && !r.ExternalArtifacts {
			continue
		}
		if err := loop.WatchWhenServed(env, c, make(), r.usersBy(bySource, kind+"/"), artifactChanged()); err != nil {
			return err
		}
	}
	return nil
}

// watchConfigs makes changes of Secrets or ConfigMaps bring back those that read
// them.
func (r *Reconciler) watchConfigs(env *process.Env, c controller.Controller, kind string) manager.RunnableFunc {
	return loop.WatchConfigs(env, c, kind, r.usersBy(byConfig, kind+"/"))
}

// indexes say under which values a Kustomization is found.
var indexes = map[string]func(*kustomizev1.Kustomization) []string{
	bySource: func(k *kustomizev1.Kustomization) []string {
		return []string{k.Spec.SourceRef.Kind + "/" + sourceKey(k).String()}
	},
	byDependency: func(k *kustomizev1.Kustomization) (keys []string) {
		for _, key := range dependencyKeys(k) {
			keys = append(keys, key.String())
		}
		return keys
	},
	byConfig: configKeys,
	byExpression: func(k *kustomizev1.Kustomization) (keys []string) {
		for i, key := range dependencyKeys(k) {
			if k.Spec.DependsOn[i].ReadyExpr != "" {
				keys = append(keys, key.String())
			}
		}
		return keys
	},
}

// configKeys names the ConfigMaps and Secrets that k reads.
func configKeys(k *kustomizev1.Kustomization) (keys []string) {
	add := func(kind, name string) { keys = append(keys, kind+"/"+k.Namespace+"/"+name) }
	if p := k.Spec.PostBuild; p != nil {
		for _, ref := range p.SubstituteFrom {
			add(ref.Kind, ref.Name)
		}
	}
	if d := k.Spec.Decryption; d != nil && d.SecretRef != nil {
		add("Secret", d.SecretRef.Name)
	}
	if c := k.Spec.KubeConfig; c != nil && c.SecretRef != nil {
		add("Secret", c.SecretRef.Name)
	}
	if c := k.Spec.KubeConfig; c != nil && c.ConfigMapRef != nil {
		add("ConfigMap", c.ConfigMapRef.Name)
	}
	return keys
}

// usersBy brings the Kustomizations that an index names for an object, whose
// name it has after a prefix.
func (r *Reconciler) usersBy(index, prefix string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []reconcile.Request {
		return r.users(ctx, index, prefix+client.ObjectKeyFromObject(obj).String())
	})
}

// users returns the Kustomizations that an index names for a value.
func (r *Reconciler) users(ctx context.Context, index, value string) []reconcile.Request {
	var all kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &all, client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing the Kustomizations that use an object", "index", index, "object", value)
		return nil
	}
	requests := make([]reconcile.Request, 0, len(all.Items))
	for i := range all.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
	}
	return requests
}

// artifactChanged lets through the publication of another artifact.
func artifactChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return e.Object.(producer).GetArtifact() != nil },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(producer).GetArtifact(), e.ObjectNew.(producer).GetArtifact()
			return after != nil && (before == nil || before.Revision != after.Revision ||
				before.Digest != after.Digest || before.URL != after.URL)
		},
	}
}

// readinessChanged lets through what a dependent Kustomization waits for.
func readinessChanged() predicate.Predicate {
	state := func(obj client.Object) [3]any {
		k := obj.(*kustomizev1.Kustomization)
		return [3]any{
			apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition),
			k.Status.ObservedGeneration == k.Generation, k.Status.LastAppliedRevision,
		}
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return state(e.ObjectOld) != state(e.ObjectNew) },
	}
}
