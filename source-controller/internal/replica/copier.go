package replica

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
)

const (
	// copyTimeout bounds the copy of one artifact.
	copyTimeout = 5 * time.Minute
	// copies is how many artifacts of a kind are copied at once.
	copies = 4
)

// Options of a Copier.
type Options struct {
	Client  client.Reader // of the cache of the manager
	Store   *artifact.Store
	Peers   *Peers
	Leading <-chan struct{} // closed when this replica leads
	Log     logr.Logger
	// Lost brings an object back to the reconciler of its kind.
	Lost func(kind string, key types.NamespacedName)
	// Every is how often files are looked at; 0 means ten seconds.
	Every time.Duration
}

// Copier is what a replica does with artifacts besides making them.
type Copier struct {
	o     Options
	bells map[string]*loop.Bell
}

// New returns a Copier.
func New(o Options) *Copier {
	c := &Copier{o: o, bells: map[string]*loop.Bell{}}
	if c.o.Every <= 0 {
		c.o.Every = 10 * time.Second
	}
	for name := range kinds {
		c.bells[name] = &loop.Bell{}
	}
	return c
}

// leads tells whether this replica makes artifacts.
func (c *Copier) leads() bool {
	select {
	case <-c.o.Leading:
		return true
	default:
		return false
	}
}

// Setup registers what runs with the manager of env, on all replicas.
func (c *Copier) Setup(env *process.Env) error {
	if err := env.Manager.Add(&watch{c}); err != nil {
		return err
	}
	if c.o.Peers.none() {
		return nil
	}
	for name, k := range kinds {
		err := ctrl.NewControllerManagedBy(env.Manager).
			Named("copy-of-" + name).
			For(k.make()).
			WatchesRawSource(c.bells[name]).
			WithOptions(controller.Options{
				NeedLeaderElection: new(false), MaxConcurrentReconciles: copies,
				RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](200*time.Millisecond, 30*time.Second),
			}).
			Complete(&follower{c, name, k})
		if err != nil {
			return err
		}
	}
	return nil
}

// follower copies the artifacts of one kind while somebody else leads.
type follower struct {
	*Copier
	name string
	kind kind
}

// Reconcile implements reconcile.Reconciler.
func (f *follower) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if f.leads() {
		return ctrl.Result{}, nil
	}
	owner := artifact.Object{Kind: f.name, Namespace: req.Namespace, Name: req.Name}
	obj := f.kind.make()
	if err := f.o.Client.Get(ctx, req.NamespacedName, obj); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, f.o.Store.Remove(owner)
		}
		return ctrl.Result{}, err
	}
	a := obj.GetArtifact()
	if a == nil {
		return ctrl.Result{}, nil // the last one stays until there is another
	}
	if err := f.Fetch(ctx, owner, a); err != nil {
		return ctrl.Result{}, err
	}
	if file, ok := artifact.AliasOf(a, f.kind.alias(obj)); ok {
		if _, err := f.o.Store.Alias(a, file); err != nil {
			return ctrl.Result{}, err
		}
	}
	_, err := f.o.Store.Collect(owner, a)
	return ctrl.Result{}, err
}

// Fetch copies the artifact a of owner from another replica, unless it is here.
func (c *Copier) Fetch(ctx context.Context, owner artifact.Object, a *meta.Artifact) error {
	if o, ok := artifact.Owner(a.Path); !ok || !owner.Is(o) {
		return fmt.Errorf("status.artifact.path %q is not one of this object", a.Path)
	}
	if c.o.Store.Present(a) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	resp, err := c.o.Peers.get(ctx, http.MethodGet, a.Path, nil)
	if err != nil {
		return fmt.Errorf("copying the artifact %q: %w", a.Path, err)
	}
	defer resp.Body.Close()
	if err := c.o.Store.Restore(ctx, a, resp.Body); err != nil {
		return fmt.Errorf("copying the artifact %q: %w", a.Path, err)
	}
	c.o.Log.Info("copied an artifact", "path", a.Path, "digest", a.Digest)
	return nil
}
