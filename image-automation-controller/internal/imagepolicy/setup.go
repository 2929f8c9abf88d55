package imagepolicy

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/buildtime"
	"github.com/weirhq/weir/image-automation-controller/internal/imagerepository"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
)

// repositoryIndex finds the policies that name a repository.
const repositoryIndex = ".spec.imageRepositoryRef"

// Options of Setup.
type Options struct {
	Access   imagerepository.Access
	Registry *registry.Client
	Tags     *tagdb.Store
	Built    *buildtime.Cache
}

// Setup registers the kind with env's manager.
func Setup(ctx context.Context, env *process.Env, o Options) error {
	r := &Reconciler{
		Client: env.Manager.GetClient(), Live: env.Manager.GetAPIReader(), Access: o.Access, Registry: o.Registry, Tags: o.Tags, Built: o.Built,
		NoCrossNamespaceRefs: env.NoCrossNamespaceRefs, RequeueDependency: env.RequeueDependency,
	}
	index := func(obj client.Object) []string { return []string{repositoryKey(obj.(*imagev1.ImagePolicy)).String()} }
	if err := env.Manager.GetFieldIndexer().IndexField(ctx, &imagev1.ImagePolicy{}, repositoryIndex, index); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(env.Manager).
		For(&imagev1.ImagePolicy{}, builder.WithPredicates(loop.Triggers())).
		Watches(&imagev1.ImageRepository{}, handler.EnqueueRequestsFromMapFunc(policiesOf(env.Manager.GetClient())), builder.WithPredicates(rescanned())).
		WithOptions(env.Controller()).
		Complete(loop.New(env, r))
}

// policiesOf maps an ImageRepository to the policies that name it.
func policiesOf(c client.Reader) handler.MapFunc {
	return func(ctx context.Context, repo client.Object) []reconcile.Request {
		list := &imagev1.ImagePolicyList{}
		if err := c.List(ctx, list, client.MatchingFields{repositoryIndex: client.ObjectKeyFromObject(repo).String()}); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "finding the policies of a repository", "repository", client.ObjectKeyFromObject(repo))
			return nil
		}
		requests := make([]reconcile.Request, 0, len(list.Items))
		for i := range list.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
		return requests
	}
}

// rescanned lets through what can change the choice of a policy: other tags,
// another image, other permissions. A scan that found nothing new is not among
// that.
func rescanned() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			repo, ok := e.Object.(*imagev1.ImageRepository)
			return ok && repo.Status.LastScanResult != nil
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			old, okOld := e.ObjectOld.(*imagev1.ImageRepository)
			now, okNow := e.ObjectNew.(*imagev1.ImageRepository)
			return okOld && okNow && (revision(old) != revision(now) ||
				old.Status.CanonicalImageName != now.Status.CanonicalImageName ||
				old.Spec.Image != now.Spec.Image ||
				!equality.Semantic.DeepEqual(old.Spec.AccessFrom, now.Spec.AccessFrom))
		},
	}
}

func revision(repo *imagev1.ImageRepository) string {
	if repo.Status.LastScanResult == nil {
		return ""
	}
	return repo.Status.LastScanResult.Revision
}
