package kustomization

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/loop"
)

// Finalize deletes what k applied, if its deletion policy says so. A suspended
// object leaves everything as it is.
func (r *Reconciler) Finalize(ctx context.Context, k *kustomizev1.Kustomization) error {
	refs, err := inventory(k)
	if err != nil {
		r.Recorder.Warning(k, meta.PruneFailedReason, fmt.Sprintf("objects were left in place: %v", err), nil)
		refs = nil
	}
	if len(refs) > 0 && deletes(k) {
		if gone, err := r.accountGone(ctx, k); err != nil {
			return loop.Retry(meta.PruneFailedReason, err)
		} else if gone {
			r.Recorder.Warning(k, meta.PruneFailedReason, fmt.Sprintf(
				"service account %q does not exist any more: %d objects were left in place", k.Spec.ServiceAccountName, len(refs)), nil)
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

// accountGone reports whether k acts as a service account that is not there
// any more. Its rights are gone with it; acting with the controller's own
// would lend a tenant rights that nobody gave it.
func (r *Reconciler) accountGone(ctx context.Context, k *kustomizev1.Kustomization) (bool, error) {
	name := k.Spec.ServiceAccountName
	if name == "" {
		name = r.DefaultServiceAccount
	}
	if name == "" {
		return false, nil
	}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: name}, &corev1.ServiceAccount{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

func (r *Reconciler) delete(ctx context.Context, k *kustomizev1.Kustomization, refs []apply.Ref) error {
	bounded, cancel := context.WithTimeout(ctx, k.GetTimeout())
	defer cancel()
	wait := k.GetDeletionPolicy() == kustomizev1.DeletionPolicyWaitForTermination
	changes, survivors, err := r.applier(k).Prune(bounded, client.ObjectKeyFromObject(k), refs, apply.PruneOptions{Wait: wait})
	k.Status.Inventory = entries(survivors)
	r.tellChanges(k, &source{artifact: &meta.Artifact{Revision: k.Status.LastAppliedRevision}}, changes)
	if err != nil {
		return loop.Retry(meta.PruneFailedReason, fmt.Errorf("deleting the objects of this Kustomization: %w", err))
	}
	return nil
}
