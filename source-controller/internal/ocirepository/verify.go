package ocirepository

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/sigstore/sigstore-go/pkg/root"
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

// trustedRootKey is the entry of a Secret that holds a trusted root of Sigstore.
const trustedRootKey = "trusted_root.json"

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
	if err := contradiction(spec); err != nil {
		return nil, loop.Stall(sourcev1.VerificationError, err)
	}
	if spec.SecretRef == nil {
		return r.keyless(ctx, repo)
	}
	secret, err := secrets.Get(ctx, r.o.Client, repo.Namespace, spec.SecretRef.Name)
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

// keyless trusts certificates by the trusted root of a Secret, or of the public
// instance.
func (r *Reconciler) keyless(ctx context.Context, repo *sourcev1.OCIRepository) (signature.Verifier, error) {
	var trusted root.TrustedMaterial
	var err error
	if ref := repo.Spec.Verify.TrustedRootSecretRef; ref != nil {
		secret, err := secrets.Get(ctx, r.o.Client, repo.Namespace, ref.Name)
		if err != nil {
			return nil, fmt.Errorf("spec.verify.trustedRootSecretRef: %w", err)
		}
		text, found := secret.Data[trustedRootKey]
		if !found {
			return nil, fmt.Errorf("spec.verify.trustedRootSecretRef: %w: the secret %q has no %q", signature.ErrTrust, ref.Name, trustedRootKey)
		}
		if trusted, err = signature.ParseTrustedRoot(text); err != nil {
			return nil, fmt.Errorf("spec.verify.trustedRootSecretRef: secret %q: %w", ref.Name, err)
		}
	} else if trusted, err = r.o.Public.Get(ctx); err != nil {
		return nil, err
	}
	var identities []signature.Identity
	for _, m := range repo.Spec.Verify.MatchOIDCIdentity {
		identities = append(identities, signature.Identity{Issuer: m.Issuer, Subject: m.Subject})
	}
	v, err := signature.NewKeyless(trusted, identities)
	if err != nil {
		return nil, fmt.Errorf("spec.verify: %w", err)
	}
	return v, nil
}

// contradiction names a field that would have no effect beside the others. To
// pass over it would be to promise a check that is not made.
func contradiction(spec *sourcev1.OCIRepositoryVerification) error {
	keyless := ""
	switch {
	case len(spec.MatchOIDCIdentity) > 0:
		keyless = "spec.verify.matchOIDCIdentity"
	case spec.TrustedRootSecretRef != nil:
		keyless = "spec.verify.trustedRootSecretRef"
	}
	switch {
	case spec.Provider != cosign && spec.Provider != notation && spec.Provider != "":
		return fmt.Errorf("spec.verify.provider %q is not known: use %q or %q", spec.Provider, cosign, notation)
	case spec.Provider == notation && spec.SecretRef == nil:
		return fmt.Errorf("spec.verify.secretRef is missing: %s needs a trust policy and certificates", notation)
	case spec.Provider == notation && keyless != "":
		return fmt.Errorf("%s is for keyless signatures of cosign: remove it, or use the provider %q", keyless, cosign)
	case spec.SecretRef != nil && keyless != "":
		return fmt.Errorf("%s is for keyless signatures, which are not looked at while spec.verify.secretRef names public keys: remove one of them", keyless)
	}
	return nil
}
