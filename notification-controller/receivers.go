package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
	"github.com/weirhq/weir/notification-controller/internal/receiver"
)

// bySecret is the field index by which the Receivers of a Secret are found.
const bySecret = "spec.secretRef.name"

// receivers reconciles Receiver objects and answers their webhooks.
func (o *options) receivers(ctx context.Context, env *process.Env) error {
	mgr := env.Manager
	for name, values := range map[string]client.IndexerFunc{receiver.PathIndex: receiver.IndexPath, bySecret: secretOf} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &notificationv1.Receiver{}, name, values); err != nil {
			return fmt.Errorf("indexing receivers: %w", err)
		}
	}
	worker := &receiver.Reconciler{
		Client: mgr.GetClient(), NoCross: env.NoCrossNamespaceRefs, RefuseShort: o.refuseShort,
		Warn: func(obj client.Object, reason, message string) { env.Recorder.Warning(obj, reason, message, nil) },
	}
	c, err := ctrl.NewControllerManagedBy(mgr).
		For(&notificationv1.Receiver{}, builder.WithPredicates(loop.Triggers())).
		WithOptions(env.Controller()).
		Build(loop.New(env, worker))
	if err != nil {
		return err
	}
	if !env.Enabled(ignoreConfigs) {
		if err := mgr.Add(loop.WatchConfigs(env, c, "Secret", receiversOf(mgr.GetClient()))); err != nil {
			return err
		}
	}
	return mgr.Add(o.server(env, "receiver", o.receiverAddr, receiver.NewHandler(receiver.Options{
		Find:   findReceivers(mgr.GetClient()),
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Tokens: issuer.New(issuer.Options{}),
		FieldOwner: env.FieldOwner, NoCross: env.NoCrossNamespaceRefs, RefuseShort: o.refuseShort, Rate: o.webhookRate,
		Log: env.Log.WithName("receiver"),
	}), nil))
}

// secretOf is the index function of bySecret.
func secretOf(obj client.Object) []string {
	if r, ok := obj.(*notificationv1.Receiver); ok && r.Spec.SecretRef != nil {
		return []string{r.Spec.SecretRef.Name}
	}
	return nil
}

// receiversOf brings back the Receivers that read a Secret.
func receiversOf(c client.Reader) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, secret client.Object) []reconcile.Request {
		var list notificationv1.ReceiverList
		err := c.List(ctx, &list, client.InNamespace(secret.GetNamespace()), client.MatchingFields{bySecret: secret.GetName()})
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "listing the Receivers that use a Secret", "secret", secret.GetName())
			return nil
		}
		requests := make([]reconcile.Request, 0, len(list.Items))
		for _, r := range list.Items {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: r.Namespace, Name: r.Name}})
		}
		return requests
	})
}

func findReceivers(c client.Reader) func(context.Context, string) ([]notificationv1.Receiver, error) {
	return func(ctx context.Context, path string) ([]notificationv1.Receiver, error) {
		var list notificationv1.ReceiverList
		if err := c.List(ctx, &list, client.MatchingFields{receiver.PathIndex: path}, client.Limit(1)); err != nil {
			return nil, fmt.Errorf("looking up a webhook: %w", err)
		}
		return list.Items, nil
	}
}
