package ocirepository

import (
	"context"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// verify checks that the revision carries the signature that spec.verify asks for,
// unless that was found out before under the same spec.
func (r *Reconciler) verify(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access, revision revision) error {
	spec := repo.Spec.Verify
	if spec == nil {
		apimeta.RemoveStatusCondition(&repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
		return nil
	}
	if upToDate(repo, revision) && verified(repo, revision) {
		return nil
	}
	return signature.Demand{
		Trust: signature.Trust{
			Provider: spec.Provider, SecretRef: spec.SecretRef,
			MatchOIDCIdentity: spec.MatchOIDCIdentity, TrustedRootSecretRef: spec.TrustedRootSecretRef,
		},
		Object: repo, Name: revision.String(), Message: verifiedMessage(revision), Reason: sourcev1.VerificationError,
	}.Check(ctx, r.o.Client, r.o.Public, signature.Artifact{Registry: r.o.Registry, Access: access, Digest: revision.digest})
}

// verified tells whether the condition says what it must of this revision and spec.
func verified(repo *sourcev1.OCIRepository, revision revision) bool {
	c := apimeta.FindStatusCondition(repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
	if repo.Spec.Verify == nil {
		return c == nil
	}
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == repo.Generation && c.Message == verifiedMessage(revision)
}

func verifiedMessage(revision revision) string {
	return fmt.Sprintf("verified signature of revision %s", revision)
}
