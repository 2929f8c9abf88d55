package kustomization

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/loop"
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
func (r *Reconciler) dependencies(ctx context.Context, k *kustomizev1.Kustomization, s *source) error {
	for _, key := range dependencyKeys(k) {
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
			why = unready(k, dep, s.artifact.Revision)
		}
		if why != "" {
			return loop.Wait(meta.DependencyNotReadyReason, r.RequeueDependency, fmt.Errorf("%s", why))
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
