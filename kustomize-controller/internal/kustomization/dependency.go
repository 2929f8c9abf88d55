package kustomization

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/kustomize-controller/internal/expression"
)

// dependencyKeys are the Kustomizations that k waits for.
func dependencyKeys(k *kustomizev1.Kustomization) []client.ObjectKey {
	keys := make([]client.ObjectKey, len(k.Spec.DependsOn))
	for i, d := range k.Spec.DependsOn {
		keys[i] = client.ObjectKey{Namespace: d.Namespace, Name: d.Name}
		if d.Namespace == "" {
			keys[i].Namespace = k.Namespace
		}
	}
	return keys
}

// dependencies waits until all that k depends on is ready. A change of a
// dependency brings k back at once.
func (r *Reconciler) dependencies(ctx context.Context, k *kustomizev1.Kustomization, s *source, d demands) error {
	if err := r.objects(ctx, k, d); err != nil {
		return err
	}
	for i, key := range dependencyKeys(k) {
		if key == client.ObjectKeyFromObject(k) {
			return loop.Stall(meta.DependencyNotReadyReason, fmt.Errorf("spec.dependsOn names the object itself"))
		}
		if r.NoCrossNamespaceRefs && key.Namespace != k.Namespace {
			return loop.Stall(acl.AccessDeniedReason, fmt.Errorf(
				"can't depend on %q: references to other namespaces are not allowed on this cluster", key))
		}
		dep := &kustomizev1.Kustomization{}
		err := r.Client.Get(ctx, key, dep)
		if err != nil && !apierrors.IsNotFound(err) {
			return loop.Retry(meta.DependencyNotReadyReason, fmt.Errorf("reading dependency %q: %w", key, err))
		}
		why := fmt.Sprintf("dependency %q not found", key)
		if err == nil {
			why = r.waitsFor(ctx, k, dep, s, d.ready[i])
		}
		if why == "" {
			continue
		}
		if circle := r.circle(ctx, k); circle != nil {
			return loop.RetryAfter(meta.DependencyNotReadyReason, r.RequeueDependency, fmt.Errorf(
				"spec.dependsOn goes round in a circle: %s: remove one of these dependencies", strings.Join(circle, " -> ")))
		}
		return loop.Wait(meta.DependencyNotReadyReason, r.RequeueDependency, fmt.Errorf("%s", why))
	}
	return nil
}

// waitsFor says why k still has to wait for dep; "" means it need not. An
// expression takes the place of the usual test, unless the two add up.
func (r *Reconciler) waitsFor(ctx context.Context, k, dep *kustomizev1.Kustomization, s *source, ready *expression.Ready) string {
	if ready == nil || r.AdditiveReadiness {
		if why := unready(k, dep, s.artifact.Revision); why != "" || ready == nil {
			return why
		}
	}
	name := client.ObjectKeyFromObject(dep)
	self, err := fieldsOf(k)
	if err != nil {
		return fmt.Sprintf("dependency %q: its readyExpr cannot be evaluated: %v", name, err)
	}
	other, err := fieldsOf(dep)
	if err != nil {
		return fmt.Sprintf("dependency %q: its readyExpr cannot be evaluated: %v", name, err)
	}
	switch holds, err := ready.Evaluate(ctx, self, other); {
	case err != nil:
		return fmt.Sprintf("dependency %q is not ready: its readyExpr cannot be evaluated: %v", name, err)
	case !holds:
		return fmt.Sprintf("dependency %q is not ready: its readyExpr does not hold", name)
	}
	return ""
}

// fieldsOf returns an object as expressions see it.
func fieldsOf(k *kustomizev1.Kustomization) (map[string]any, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(k)
	if err != nil {
		return nil, err
	}
	fields["apiVersion"], fields["kind"] = kustomizev1.GroupVersion.String(), kustomizev1.KustomizationKind
	return fields, nil
}

// maxCircle bounds the Kustomizations looked at for a circle.
const maxCircle = 1000

// circle returns the names along which k depends on itself, k at both ends;
// nil if it does not.
func (r *Reconciler) circle(ctx context.Context, k *kustomizev1.Kustomization) []string {
	return findCircle(client.ObjectKeyFromObject(k), func(key client.ObjectKey) []client.ObjectKey {
		if key == client.ObjectKeyFromObject(k) {
			return dependencyKeys(k)
		}
		other := &kustomizev1.Kustomization{}
		if r.Client.Get(ctx, key, other) != nil {
			return nil // whoever cannot be read closes no circle
		}
		return dependencyKeys(other)
	})
}

// findCircle searches breadth first, so it finds the shortest way round.
func findCircle(start client.ObjectKey, next func(client.ObjectKey) []client.ObjectKey) []string {
	from := map[client.ObjectKey]client.ObjectKey{}
	for queue := []client.ObjectKey{start}; len(queue) > 0 && len(from) < maxCircle; queue = queue[1:] {
		for _, key := range next(queue[0]) {
			if key == start {
				way := []string{start.String()}
				for at := queue[0]; at != start; at = from[at] {
					way = append(way, at.String())
				}
				slices.Reverse(way)
				return append([]string{start.String()}, way...)
			}
			if _, seen := from[key]; !seen {
				from[key] = queue[0]
				queue = append(queue, key)
			}
		}
	}
	return nil
}

// unready says why k still has to wait for dep; "" means it need not. When
// both come from one source, dep must have applied the revision that k is
// about to apply, or k could overtake it.
func unready(k, dep *kustomizev1.Kustomization, revision string) string {
	name := client.ObjectKeyFromObject(dep)
	ready := apimeta.FindStatusCondition(dep.Status.Conditions, meta.ReadyCondition)
	switch {
	case dep.Generation != dep.Status.ObservedGeneration:
		return fmt.Sprintf("dependency %q is not ready: its latest spec is not applied yet", name)
	case ready == nil || ready.Status != "True":
		return fmt.Sprintf("dependency %q is not ready", name)
	case dep.Spec.SourceRef.Kind == k.Spec.SourceRef.Kind && sourceKey(dep) == sourceKey(k) &&
		dep.Status.LastAppliedRevision != revision:
		return fmt.Sprintf("dependency %q is not updated yet: it has not applied revision %s", name, revision)
	}
	return ""
}
