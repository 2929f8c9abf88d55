package process

import (
	"fmt"
	"net/http"
	"os"
	"time"

	kubeclient "github.com/fluxcd/pkg/runtime/client"
	fluxctrl "github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/leaderelection"
	"github.com/fluxcd/pkg/runtime/pprof"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// shutdown is how long running reconciliations get to save their state after
// a signal. With the rest of the way out it stays within eight seconds.
const shutdown = 6 * time.Second

func (o *options) manager(p *Program, scheme *runtime.Scheme, state http.Handler) (ctrl.Manager, error) {
	selector, err := fluxctrl.GetWatchSelector(o.watch)
	if err != nil {
		return nil, fmt.Errorf("--watch-label-selector: %w", err)
	}
	configs, err := labels.Parse(o.watch.ConfigsLabelSelector)
	if err != nil {
		return nil, fmt.Errorf("--watch-configs-label-selector: %w", err)
	}
	// What is cached of these is for watching only, and the API server selects it.
	byObject := map[client.Object]cache.ByObject{&corev1.Secret{}: {Label: configs}, &corev1.ConfigMap{}: {Label: configs}}
	for _, kind := range p.Kinds {
		byObject[kind] = cache.ByObject{Label: selector}
	}
	namespace := os.Getenv("RUNTIME_NAMESPACE")
	var namespaces map[string]cache.Config
	if !o.watch.AllNamespaces {
		if namespace == "" {
			return nil, fmt.Errorf("--watch-all-namespaces=false needs the environment variable RUNTIME_NAMESPACE")
		}
		namespaces = map[string]cache.Config{namespace: {}}
	}
	extra := pprof.GetHandlers()
	extra["/debug/state"] = state
	grace, recoverPanic := shutdown, true
	cfg := kubeclient.GetConfigOrDie(o.kube)
	// The API server warns of the finalizer's name, which the wire API fixes,
	// in each answer to a claim.
	cfg.WarningHandler = rest.NoWarnings{}
	election := leaderelection.GenerateID(p.Name+"-leader-election", shard(o.watch)...)
	lock, err := o.lock(cfg, namespace, election)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       server.Options{BindAddress: o.metricsAddr, ExtraHandlers: extra},
		HealthProbeBindAddress:        o.healthAddr,
		LeaderElection:                o.election.Enable,
		LeaderElectionReleaseOnCancel: o.election.ReleaseOnCancel,
		LeaseDuration:                 &o.election.LeaseDuration,
		RenewDeadline:                 &o.election.RenewDeadline,
		RetryPeriod:                   new(min(standbyLook, o.election.RetryPeriod)), // lease slows renewals down
		LeaderElectionID:              election,
		LeaderElectionNamespace:       namespace,

		LeaderElectionResourceLockInterface: lock,
		GracefulShutdownTimeout:             &grace,
		Controller:                          config.Controller{RecoverPanic: &recoverPanic},
		Cache: cache.Options{
			ByObject:          byObject,
			DefaultNamespaces: namespaces,
			DefaultTransform:  cache.TransformStripManagedFields(),
		},
		Client: client.Options{Cache: &client.CacheOptions{
			// A cache of all Secrets of a cluster would be the largest thing
			// in memory, and the one worth stealing. No role allows to list
			// service accounts.
			DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.ServiceAccount{}},
		}},
	})
	if err != nil {
		return nil, err
	}
	for _, add := range []func(string, healthz.Checker) error{mgr.AddHealthzCheck, mgr.AddReadyzCheck} {
		if err := add("ping", healthz.Ping); err != nil {
			return nil, err
		}
	}
	return mgr, nil
}

// lock returns the lock of the leader election and puts a fence into cfg that
// listens to it. It is nil, for the manager to make one, when there is no election,
// or when the manager is to find out the namespace, or to say that it cannot.
func (o *options) lock(cfg *rest.Config, namespace, id string) (resourcelock.Interface, error) {
	if !o.election.Enable || namespace == "" {
		return nil, nil
	}
	l, err := newLease(cfg, namespace, id, o.election)
	if err != nil {
		return nil, err
	}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &fence{l, next} })
	return l, nil
}

// shard tells apart the leaders of several instances that share the work by
// label.
func shard(w fluxctrl.WatchOptions) []string {
	if w.LabelSelector == "" {
		return nil
	}
	return []string{w.LabelSelector}
}
