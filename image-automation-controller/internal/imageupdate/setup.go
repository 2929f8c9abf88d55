package imageupdate

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

// debounce is how long a change of a policy waits for others, so that policies
// that change together make one commit.
const debounce = 100 * time.Millisecond

// Setup registers the kind with env's manager.
func Setup(env *process.Env, git *gitrepo.Pool, auth *gitauth.Reader, forcePush bool) error {
	r := &Reconciler{
		Client: env.Manager.GetClient(), Live: env.Manager.GetAPIReader(), Git: git, Auth: auth, Now: time.Now,
		NoCrossNamespaceRefs: env.NoCrossNamespaceRefs, ForcePush: forcePush,
	}
	c, err := ctrl.NewControllerManagedBy(env.Manager).
		For(&imagev1.ImageUpdateAutomation{}, builder.WithPredicates(loop.Triggers())).
		Watches(&imagev1.ImagePolicy{}, chosen(env.Manager.GetClient())).
		WithOptions(env.Controller()).
		Build(loop.New(env, r))
	if err != nil {
		return err
	}
	return loop.WatchWhenServed(env, c, &sourcev1.GitRepository{}, handler.EnqueueRequestsFromMapFunc(writersTo(env.Manager.GetClient())), edited())
}

// edited lets through what can cure an automation: its source was made, or edited.
func edited() predicate.Predicate {
	return predicate.And(predicate.GenerationChangedPredicate{}, predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	})
}

// writersTo maps a GitRepository to the automations that write to it.
func writersTo(c client.Reader) handler.MapFunc {
	return func(ctx context.Context, source client.Object) []reconcile.Request {
		list := &imagev1.ImageUpdateAutomationList{}
		if err := c.List(ctx, list); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "finding the automations of a source", "source", client.ObjectKeyFromObject(source))
			return nil
		}
		var out []reconcile.Request
		for i := range list.Items {
			if sourceKey(&list.Items[i]) == client.ObjectKeyFromObject(source) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return out
	}
}

// chosen brings the automations of a policy back when it has chosen another
// image, or when its labels changed.
func chosen(c client.Reader) handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			old, okOld := e.ObjectOld.(*imagev1.ImagePolicy)
			now, okNow := e.ObjectNew.(*imagev1.ImagePolicy)
			if !okOld || !okNow || now.Status.LatestRef == nil {
				return
			}
			if equality.Semantic.DeepEqual(old.Status.LatestRef, now.Status.LatestRef) && equality.Semantic.DeepEqual(old.Labels, now.Labels) {
				return
			}
			for _, key := range automationsOf(ctx, c, now) {
				queue.AddAfter(reconcile.Request{NamespacedName: key}, debounce)
			}
		},
	}
}

// automationsOf lists the automations in the policy's namespace that select it.
func automationsOf(ctx context.Context, c client.Reader, policy *imagev1.ImagePolicy) []client.ObjectKey {
	list := &imagev1.ImageUpdateAutomationList{}
	if err := c.List(ctx, list, client.InNamespace(policy.Namespace)); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "finding the automations of a policy", "policy", client.ObjectKeyFromObject(policy))
		return nil
	}
	var keys []client.ObjectKey
	for i := range list.Items {
		auto := &list.Items[i]
		selector := labels.Everything()
		if auto.Spec.PolicySelector != nil {
			var err error
			if selector, err = metav1.LabelSelectorAsSelector(auto.Spec.PolicySelector); err != nil {
				continue // its own reconciliation says so
			}
		}
		if selector.Matches(labels.Set(policy.Labels)) {
			keys = append(keys, client.ObjectKeyFromObject(auto))
		}
	}
	return keys
}
