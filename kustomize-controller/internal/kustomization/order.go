package kustomization

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/kustomize-controller/internal/wish"
)

// together is the default of Options.DeletionGap: what a parent that prunes them,
// or the end of their namespace, needs to delete all of them.
const together = 2 * time.Second

// dependentsFirst makes the deletion of k wait for those that depend on it and
// are being deleted as well, when k or the controller asks for that order. The
// wait has an end: k's timeout, once for each that has to go first.
func (r *Reconciler) dependentsFirst(ctx context.Context, k *kustomizev1.Kustomization) error {
	w, err := wish.Parse(k.Annotations, r.PruneGuard)
	if ordered := w.DependentsFirst || r.DependentsFirst && !w.AnyOrder; err != nil || !ordered {
		return nil // what cannot be read asks for nothing, and must not keep k from going
	}
	var all kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &all); err != nil {
		return loop.Retry(meta.DependencyNotReadyReason, fmt.Errorf("looking for Kustomizations that depend on this one: %w", err))
	}
	order := deletionOrder(k, all.Items)
	waited := time.Since(k.DeletionTimestamp.Time)
	switch {
	case len(order.first) > 0 && waited < k.GetTimeout()*time.Duration(order.all):
		return loop.Wait(meta.DependencyNotReadyReason, r.RequeueDependency, fmt.Errorf(
			"deletion waits for Kustomizations that depend on this one: %s", strings.Join(order.first, ", ")))
	case len(order.first) > 0:
		r.Recorder.Warning(k, meta.DependencyNotReadyReason, fmt.Sprintf(
			"deletion goes on after %s without waiting for %s", waited.Round(time.Second), strings.Join(order.first, ", ")), nil)
	case order.alive && waited < r.DeletionGap:
		return loop.Wait(meta.DependencyNotReadyReason, r.DeletionGap-waited, errors.New(
			"deletion waits a moment for the deletion of Kustomizations that depend on this one"))
	}
	return nil
}

// order is what has to be deleted before a Kustomization.
type order struct {
	first []string // those that depend on it and are being deleted
	all   int      // how many these are with those that depend on them, and so on
	alive bool     // there are others, which are not being deleted
}

// deletionOrder is pure. Kustomizations that depend on each other in a circle do
// not wait for each other.
func deletionOrder(k *kustomizev1.Kustomization, all []kustomizev1.Kustomization) (o order) {
	self := client.ObjectKeyFromObject(k)
	dependents := map[client.ObjectKey][]client.ObjectKey{}
	for i := range all {
		other := &all[i]
		going := !other.DeletionTimestamp.IsZero()
		for _, key := range dependencyKeys(other) {
			switch {
			case going && controllerutil.ContainsFinalizer(other, loop.Finalizer):
				dependents[key] = append(dependents[key], client.ObjectKeyFromObject(other))
			case !going && key == self:
				o.alive = true
			}
		}
	}
	next := func(key client.ObjectKey) []client.ObjectKey { return dependents[key] }
	seen := map[client.ObjectKey]bool{}
	for queue := []client.ObjectKey{self}; len(queue) > 0; queue = queue[1:] {
		for _, key := range next(queue[0]) {
			if !seen[key] {
				seen[key], queue = true, append(queue, key)
			}
		}
	}
	if seen[self] {
		return order{}
	}
	for _, key := range dependents[self] {
		o.first = append(o.first, key.String())
	}
	slices.Sort(o.first)
	o.first, o.all = slices.Compact(o.first), len(seen)
	return o
}

// released brings back those whose deletion waits for an object that is gone now.
func (r *Reconciler) released() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) (requests []reconcile.Request) {
		for _, key := range dependencyKeys(obj.(*kustomizev1.Kustomization)) {
			k := &kustomizev1.Kustomization{}
			if r.Client.Get(ctx, key, k) == nil && !k.DeletionTimestamp.IsZero() {
				requests = append(requests, reconcile.Request{NamespacedName: key})
			}
		}
		return requests
	})
}

// gone lets deletions through, and their beginning: it ends the moment that is
// waited for it.
func gone() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return true },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetDeletionTimestamp().IsZero() && !e.ObjectNew.GetDeletionTimestamp().IsZero()
		},
	}
}
