package helmchart

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

// verify checks that the manifest carries the signature that spec.verify asks for.
func (r *Reconciler) verify(ctx context.Context, obj *sourcev1.HelmChart, access registry.Access, digest string) error {
	if obj.Spec.Verify == nil {
		return nil
	}
	verifier, err := r.verifier(ctx, obj)
	ok := false
	if err == nil {
		ok, err = verifier.Verify(ctx, signature.Artifact{Registry: r.o.Registry, Access: access, Digest: digest})
	}
	if err != nil {
		err = fmt.Errorf("%w of '%s': %w", errVerify, digest, err)
		apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
			Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionFalse, ObservedGeneration: obj.Generation,
			Reason: sourcev1.ChartVerificationErrorReason, Message: secrets.Redact(err.Error()),
		})
		return err
	}
	if !ok {
		apimeta.RemoveStatusCondition(&obj.Status.Conditions, sourcev1.SourceVerifiedCondition)
		return nil
	}
	apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
		Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionTrue, ObservedGeneration: obj.Generation,
		Reason: meta.SucceededReason, Message: fmt.Sprintf("verified signature of version %s", digest),
	})
	return nil
}

// verifier reads whom spec.verify trusts.
func (r *Reconciler) verifier(ctx context.Context, obj *sourcev1.HelmChart) (signature.Verifier, error) {
	spec := obj.Spec.Verify
	v, err := signature.Trust{
		Namespace: obj.Namespace, Provider: spec.Provider, SecretRef: spec.SecretRef, MatchOIDCIdentity: spec.MatchOIDCIdentity,
	}.Verifier(ctx, r.o.Live, r.o.Public)
	if errors.Is(err, signature.ErrSpec) {
		err = loop.Stall(sourcev1.ChartVerificationErrorReason, err)
	}
	return v, err
}
