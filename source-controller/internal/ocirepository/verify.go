package ocirepository

import (
	"context"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/registry"
)

// verify checks that the revision carries the signature that spec.verify asks for.
func (r *Reconciler) verify(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access, revision revision) error {
	if repo.Spec.Verify == nil {
		apimeta.RemoveStatusCondition(&repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
		return nil
	}
	return unsupported(sourcev1.VerificationError, "spec.verify", "remove it, and know that signatures are not verified then")
}
