package ocirepository

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

var errVerify = errors.New("verifying the signature")

// verify checks that the revision carries the signature that spec.verify asks for,
// unless that was found out before under the same spec.
func (r *Reconciler) verify(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access, revision revision) error {
	conditions := &repo.Status.Conditions
	if repo.Spec.Verify == nil {
		apimeta.RemoveStatusCondition(conditions, sourcev1.SourceVerifiedCondition)
		return nil
	}
	if upToDate(repo, revision) && verified(repo, revision) {
		return nil
	}
	verifier, err := r.verifier(ctx, repo)
	ok := false
	if err == nil {
		ok, err = verifier.Verify(ctx, signature.Artifact{Registry: r.o.Registry, Access: access, Digest: revision.digest})
	}
	if err != nil {
		err = fmt.Errorf("%w of '%s': %w", errVerify, revision, err)
		apimeta.SetStatusCondition(conditions, metav1.Condition{
			Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionFalse, ObservedGeneration: repo.Generation,
			Reason: sourcev1.VerificationError, Message: secrets.Redact(err.Error()),
		})
		return err
	}
	if !ok {
		apimeta.RemoveStatusCondition(conditions, sourcev1.SourceVerifiedCondition)
		return nil
	}
	apimeta.SetStatusCondition(conditions, metav1.Condition{
		Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionTrue, ObservedGeneration: repo.Generation,
		Reason: meta.SucceededReason, Message: verifiedMessage(revision),
	})
	return nil
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

// verifier reads whom spec.verify trusts.
func (r *Reconciler) verifier(ctx context.Context, repo *sourcev1.OCIRepository) (signature.Verifier, error) {
	spec := repo.Spec.Verify
	v, err := signature.Trust{
		Namespace: repo.Namespace, Provider: spec.Provider, SecretRef: spec.SecretRef,
		MatchOIDCIdentity: spec.MatchOIDCIdentity, TrustedRootSecretRef: spec.TrustedRootSecretRef,
	}.Verifier(ctx, r.o.Client, r.o.Public)
	if errors.Is(err, signature.ErrSpec) {
		err = loop.Stall(sourcev1.VerificationError, err)
	}
	return v, err
}
