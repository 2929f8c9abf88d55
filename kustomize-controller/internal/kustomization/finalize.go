package kustomization

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/loop"
)

// Finalize deletes what k applied, if its deletion policy says so, and those that
// depend on k before it, if that is asked for. A suspended object leaves everything as it is.
func (r *Reconciler) Finalize(ctx context.Context, k *kustomizev1.Kustomization) error {
	refs, err := inventory(k)
	if err != nil {
		r.Recorder.Warning(k, meta.PruneFailedReason, fmt.Sprintf("objects were left in place: %v", err), nil)
		refs = nil
	}
	refs = slices.DeleteFunc(refs, func(ref apply.Ref) bool { return itself(k, ref) }) // it goes anyway, and would wait for that
	if len(refs) > 0 && deletes(k) {
		if err := r.dependentsFirst(ctx, k); err != nil {
			return err
		}
		if gone, err := r.accessGone(ctx, k); err != nil {
			return loop.Retry(meta.PruneFailedReason, err)
		} else if gone != "" {
			r.Recorder.Warning(k, meta.PruneFailedReason, fmt.Sprintf(
				"%s does not exist any more: %d objects were left in place", gone, len(refs)), nil)
		} else if err := r.delete(ctx, k, refs); err != nil {
			return err
		}
	}
	r.forget(k)
	return nil
}

// deletes reports whether the objects of k go with it.
func deletes(k *kustomizev1.Kustomization) bool {
	if k.Spec.Suspend {
		return false
	}
	switch k.GetDeletionPolicy() {
	case kustomizev1.DeletionPolicyOrphan:
		return false
	case kustomizev1.DeletionPolicyDelete, kustomizev1.DeletionPolicyWaitForTermination:
		return true
	default:
		return k.Spec.Prune
	}
}

// accessGone names what k acted with and that is not there any more; "" if all
// is. The rights are gone with it; acting with the controller's own would lend
// a tenant rights that nobody gave it.
func (r *Reconciler) accessGone(ctx context.Context, k *kustomizev1.Kustomization) (string, error) {
	key := client.ObjectKey{Namespace: k.Namespace}
	var obj client.Object
	var what string
	switch c := k.Spec.KubeConfig; {
	case c != nil && c.SecretRef != nil:
		obj, what, key.Name = &corev1.Secret{}, "kubeconfig Secret", c.SecretRef.Name
	case c != nil && c.ConfigMapRef != nil:
		obj, what, key.Name = &corev1.ConfigMap{}, "kubeconfig ConfigMap", c.ConfigMapRef.Name
	case c == nil && k.Spec.ServiceAccountName != "":
		obj, what, key.Name = &corev1.ServiceAccount{}, "service account", k.Spec.ServiceAccountName
	case c == nil && r.DefaultServiceAccount != "":
		obj, what, key.Name = &corev1.ServiceAccount{}, "service account", r.DefaultServiceAccount
	default:
		return "", nil
	}
	err := r.Live.Get(ctx, key, obj)
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("%s %q", what, key.Name), nil
	}
	return "", err
}

func (r *Reconciler) delete(ctx context.Context, k *kustomizev1.Kustomization, refs []apply.Ref) error {
	bounded, cancel := context.WithTimeout(ctx, k.GetTimeout())
	defer cancel()
	applier, err := r.applier(bounded, k)
	if err != nil {
		return err
	}
	wait := k.GetDeletionPolicy() == kustomizev1.DeletionPolicyWaitForTermination
	changes, survivors, err := applier.Prune(bounded, client.ObjectKeyFromObject(k), refs, apply.PruneOptions{Wait: wait})
	k.Status.Inventory = entries(survivors)
	r.tellChanges(k, &source{artifact: &meta.Artifact{Revision: k.Status.LastAppliedRevision}}, changes)
	switch {
	case apply.Terminating(err):
		return loop.Wait(meta.ProgressingReason, patienceFor(k), fmt.Errorf("waiting for the deletion of objects: %w", err))
	case err != nil:
		return loop.Retry(meta.PruneFailedReason, fmt.Errorf("deleting the objects of this Kustomization: %w", err))
	}
	return nil
}

// patienceFor is when to look again at objects that are being deleted: soon at
// first, ever more seldom for those that take their time.
func patienceFor(k *kustomizev1.Kustomization) time.Duration {
	return min(max(time.Since(k.DeletionTimestamp.Time)/4, 500*time.Millisecond), 30*time.Second)
}
