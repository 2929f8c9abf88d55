package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/cache"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/notification-controller/internal/alert"
	"github.com/weirhq/weir/notification-controller/internal/delivery"
	"github.com/weirhq/weir/notification-controller/internal/intake"
	"github.com/weirhq/weir/notification-controller/internal/provider"
	"github.com/weirhq/weir/notification-controller/internal/sender"
)

// notifier brings events from the endpoint to the queue of the Providers.
type notifier struct {
	env     *process.Env
	index   *alert.Index
	queue   *delivery.Queue
	courier *delivery.Courier
}

// notifications wires the way of an event: endpoint, Alerts, queue, Providers.
func (o *options) notifications(ctx context.Context, env *process.Env) error {
	mgr := env.Manager
	n := &notifier{env: env, index: alert.NewIndex(alert.Options{NoCross: env.NoCrossNamespaceRefs, Fold: o.fold})}
	loader, err := o.loader(mgr.GetClient(), n.warn)
	if err != nil {
		return err
	}
	n.courier = &delivery.Courier{Cache: mgr.GetClient(), Live: mgr.GetAPIReader(), Providers: loader}
	queue, err := delivery.Open(delivery.Options{
		Dir: o.storagePath, Send: n.courier.Send, Failed: n.failed, Log: env.Log.WithName("delivery"),
	})
	if err != nil {
		return err
	}
	n.queue = queue
	stop, err := loader.Keep(filepath.Join(o.storagePath, "told.db"))
	if err != nil {
		return err
	}
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		return stop()
	})); err != nil {
		return err
	}
	env.State.Add("delivery", func() any { return queue.State() })
	if err := metrics.Registry.Register(queue); err != nil {
		return err
	}
	ready, err := n.watch(ctx)
	if err != nil {
		return err
	}
	if err := mgr.Add(queue); err != nil {
		return err
	}
	authorize, err := o.authorize(env)
	if err != nil {
		return err
	}
	handler := intake.NewHandler(intake.Options{
		Authorize: authorize, Accept: n.accept, Repeat: n.repeat, Interval: o.rateLimit, Log: env.Log.WithName("event"),
	})
	return mgr.Add(o.server(env, "event", o.eventsAddr, handler, ready))
}

// loader prepares the senders of Providers.
func (o *options) loader(c client.Client, warn func(types.NamespacedName, string, string)) (*provider.Loader, error) {
	tokens, err := cache.NewTokenCache(o.tokenCacheSize, append(telemetry.TokenCache("provider"), cache.WithMaxDuration(o.tokenCacheDuration))...)
	if err != nil {
		return nil, fmt.Errorf("--token-cache-max-size: %w", err)
	}
	apps := githubapp.NewTokens(githubapp.TokensOptions{Max: o.tokenCacheSize, MaxDuration: o.tokenCacheDuration})
	return &provider.Loader{Secrets: c, Accounts: c, Tokens: tokens, TokenAge: o.tokenCacheDuration, Apps: apps, Warn: warn}, nil
}

// authorize returns who may post events, when a flag says that not everybody
// may: the service accounts of the flag, or all those of the controller's own
// namespace.
func (o *options) authorize(env *process.Env) (func(context.Context, http.Header) error, error) {
	if !o.requireToken {
		return nil, nil
	}
	accounts := o.senders
	if len(accounts) == 0 && env.RuntimeNamespace != "" {
		accounts = []string{env.RuntimeNamespace + "/*"}
	}
	guard, err := sender.New(sender.Options{
		Accounts: accounts,
		Review: func(ctx context.Context, r *authenticationv1.TokenReview) error {
			return env.Manager.GetClient().Create(ctx, r)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--require-event-token, --event-senders: %w", err)
	}
	return guard.Check, nil
}

// accept keeps an event for every Alert that wants it.
func (n *notifier) accept(_ context.Context, event *eventv1.Event) error {
	matches := n.index.Match(event)
	for _, m := range matches {
		if len(m.Overridden) > 0 {
			n.warn(m.Alert, notificationv1beta3.MetadataAppendFailedReason,
				"metadata set in more than one place (of the object's annotations, spec.eventMetadata, spec.summary and the controller's own, the later wins): "+strings.Join(m.Overridden, ", "))
		}
	}
	return n.queue.Add(jobs(matches))
}

// repeat counts an event that was refused because it says what was told.
func (n *notifier) repeat(event *eventv1.Event) { n.queue.Repeat(jobs(n.index.Match(event))) }

func jobs(matches []alert.Match) []delivery.Job {
	out := make([]delivery.Job, 0, len(matches))
	for _, m := range matches {
		out = append(out, delivery.Job{Provider: m.Provider, Alert: m.Alert, Labels: m.Labels, Event: m.Event, Fold: m.Fold, Accepted: time.Now()})
	}
	return out
}

// watch keeps the index of Alerts current and wakes the deliveries of a
// Provider that changed. The function it returns waits until all Alerts are
// in the index.
func (n *notifier) watch(ctx context.Context) (func(context.Context) error, error) {
	alerts, err := n.env.Manager.GetCache().GetInformer(ctx, &notificationv1beta3.Alert{})
	if err != nil {
		return nil, fmt.Errorf("watching alerts: %w", err)
	}
	alertsIn, err := alerts.AddEventHandler(follow(n.put, n.index.Remove))
	if err != nil {
		return nil, fmt.Errorf("watching alerts: %w", err)
	}
	providers, err := n.env.Manager.GetCache().GetInformer(ctx, &notificationv1beta3.Provider{})
	if err != nil {
		return nil, fmt.Errorf("watching providers: %w", err)
	}
	changed := func(p *notificationv1beta3.Provider) { n.queue.Wake(client.ObjectKeyFromObject(p)) }
	providersIn, err := providers.AddEventHandler(follow(changed, n.forget))
	if err != nil {
		return nil, fmt.Errorf("watching providers: %w", err)
	}
	return func(ctx context.Context) error {
		if !toolscache.WaitForCacheSync(ctx.Done(), alertsIn.HasSynced, providersIn.HasSynced) {
			return errors.New("stopped before all alerts were read")
		}
		return nil
	}, nil
}

// forget drops what is kept of a Provider that is gone.
func (n *notifier) forget(key types.NamespacedName) {
	n.courier.Forget(key)
	telemetry.Forget(telemetry.Object{Kind: notificationv1beta3.ProviderKind, Namespace: key.Namespace, Name: key.Name})
}

func (n *notifier) put(a *notificationv1beta3.Alert) {
	if err := n.index.Put(a); err != nil {
		n.env.Recorder.Warning(a, notificationv1beta3.InvalidConfigReason, err.Error(), nil)
	}
}

// follow calls put and remove for the objects of one kind. Resyncs and
// updates that change nothing in spec and annotations are passed over.
func follow[T client.Object](put func(T), remove func(types.NamespacedName)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if obj, ok := o.(T); ok {
				put(obj)
			}
		},
		UpdateFunc: func(before, after any) {
			old, okOld := before.(T)
			obj, ok := after.(T)
			same := okOld && ok && old.GetUID() == obj.GetUID() && old.GetGeneration() == obj.GetGeneration() &&
				old.GetDeletionTimestamp().Equal(obj.GetDeletionTimestamp()) && maps.Equal(old.GetAnnotations(), obj.GetAnnotations())
			if ok && !same {
				put(obj)
			}
		},
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if obj, ok := o.(T); ok {
				remove(client.ObjectKeyFromObject(obj))
			}
		},
	}
}

// failed records on the Alert that an event could not be sent.
func (n *notifier) failed(job *delivery.Job, err error, gaveUp bool) {
	reason := notificationv1beta3.NotificationDispatchFailedReason
	if errors.Is(err, delivery.ErrSource) {
		reason = notificationv1beta3.SourceFetchFailedReason
	}
	outcome := "it will be sent again"
	if gaveUp {
		outcome = "it will not be sent again"
	}
	o := job.Event.InvolvedObject
	n.warn(job.Alert, reason, fmt.Sprintf("event %q of %s/%s.%s could not be sent (%s): %v", job.Event.Reason, o.Kind, o.Name, o.Namespace, outcome, err))
}

func (n *notifier) warn(key types.NamespacedName, reason, message string) {
	a := &notificationv1beta3.Alert{}
	if err := n.env.Manager.GetClient().Get(context.Background(), key, a); err != nil {
		return // it is gone, and nobody looks at its events
	}
	n.env.Recorder.Warning(a, reason, message, nil)
}
