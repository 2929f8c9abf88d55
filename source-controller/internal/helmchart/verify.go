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

// Values of spec.verify.provider.
const (
	cosign   = "cosign"
	notation = "notation"
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
	switch {
	case spec.Provider != cosign && spec.Provider != notation && spec.Provider != "":
		return nil, loop.Stall(sourcev1.ChartVerificationErrorReason, fmt.Errorf("spec.verify.provider %q is not known: use %q or %q", spec.Provider, cosign, notation))
	case spec.Provider == notation && spec.SecretRef == nil:
		return nil, loop.Stall(sourcev1.ChartVerificationErrorReason, errors.New("spec.verify.secretRef is missing: notation needs a trust policy and certificates"))
	case spec.SecretRef != nil && len(spec.MatchOIDCIdentity) > 0:
		return nil, loop.Stall(sourcev1.ChartVerificationErrorReason, errors.New("spec.verify.matchOIDCIdentity is for keyless signatures, which are not looked at while spec.verify.secretRef is set: remove one of them"))
	case spec.SecretRef == nil:
		return r.keyless(ctx, spec)
	}
	secret, err := secrets.Get(ctx, r.o.Live, obj.Namespace, spec.SecretRef.Name)
	if err != nil {
		return nil, fmt.Errorf("spec.verify.secretRef: %w", err)
	}
	var v signature.Verifier
	if spec.Provider == notation {
		v, err = signature.NewNotation(secret.Data)
	} else {
		v, err = signature.NewKeys(secret.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("spec.verify.secretRef: secret %q: %w", spec.SecretRef.Name, err)
	}
	return v, nil
}

// keyless trusts certificates by the trusted root of the public instance.
func (r *Reconciler) keyless(ctx context.Context, spec *sourcev1.HelmChartVerification) (signature.Verifier, error) {
	trusted, err := r.o.Public.Get(ctx)
	if err != nil {
		return nil, err
	}
	var identities []signature.Identity
	for _, m := range spec.MatchOIDCIdentity {
		identities = append(identities, signature.Identity{Issuer: m.Issuer, Subject: m.Subject})
	}
	v, err := signature.NewKeyless(trusted, identities)
	if err != nil {
		return nil, fmt.Errorf("spec.verify: %w", err)
	}
	return v, nil
}
