package signature

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/sigstore/sigstore-go/pkg/root"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/secrets"
)

// Values of spec.verify.provider.
const (
	byCosign   = "cosign"
	byNotation = "notation"
)

// trustedRootKey is the entry of a Secret that holds a trusted root of Sigstore.
const trustedRootKey = "trusted_root.json"

// ErrSpec is wrapped when fields of spec.verify contradict each other.
var ErrSpec = errors.New("spec.verify cannot be used")

// Trust is what spec.verify of an object says.
type Trust struct {
	Namespace            string // of the Secrets; Demand sets it to the object's
	Provider             string // "cosign", also when empty, or "notation"
	SecretRef            *meta.LocalObjectReference
	MatchOIDCIdentity    []sourcev1.OIDCIdentityMatch
	TrustedRootSecretRef *meta.LocalObjectReference
}

// Verifier reads whom t trusts; public is asked when nothing else is said. Errors
// name the field. They wrap ErrSpec or ErrTrust, or are those of reading Secrets.
func (t Trust) Verifier(ctx context.Context, c client.Reader, public *Public) (Verifier, error) {
	if err := t.contradiction(); err != nil {
		return nil, err
	}
	if t.SecretRef == nil {
		return t.keyless(ctx, c, public)
	}
	secret, err := secrets.Get(ctx, c, t.Namespace, t.SecretRef.Name)
	if err != nil {
		return nil, fmt.Errorf("spec.verify.secretRef: %w", err)
	}
	var v Verifier
	if t.Provider == byNotation {
		v, err = NewNotation(secret.Data)
	} else {
		v, err = NewKeys(secret.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("spec.verify.secretRef: secret %q: %w", t.SecretRef.Name, err)
	}
	return v, nil
}

// keyless trusts certificates by the trusted root of a Secret, or of the public
// instance.
func (t Trust) keyless(ctx context.Context, c client.Reader, public *Public) (Verifier, error) {
	trusted, err := t.root(ctx, c, public)
	if err != nil {
		return nil, err
	}
	var identities []Identity
	for _, m := range t.MatchOIDCIdentity {
		identities = append(identities, Identity{Issuer: m.Issuer, Subject: m.Subject})
	}
	v, err := NewKeyless(trusted, identities)
	if err != nil {
		return nil, fmt.Errorf("spec.verify: %w", err)
	}
	return v, nil
}

func (t Trust) root(ctx context.Context, c client.Reader, public *Public) (root.TrustedMaterial, error) {
	if t.TrustedRootSecretRef == nil {
		return public.Get(ctx)
	}
	name := t.TrustedRootSecretRef.Name
	secret, err := secrets.Get(ctx, c, t.Namespace, name)
	if err != nil {
		return nil, fmt.Errorf("spec.verify.trustedRootSecretRef: %w", err)
	}
	text, found := secret.Data[trustedRootKey]
	if !found {
		return nil, fmt.Errorf("spec.verify.trustedRootSecretRef: %w: the secret %q has no %q", ErrTrust, name, trustedRootKey)
	}
	trusted, err := ParseTrustedRoot(text)
	if err != nil {
		return nil, fmt.Errorf("spec.verify.trustedRootSecretRef: secret %q: %w", name, err)
	}
	return trusted, nil
}

// contradiction names a field that would have no effect beside the others. To
// pass over it would be to promise a check that is not made.
func (t Trust) contradiction() error {
	keyless := ""
	switch {
	case len(t.MatchOIDCIdentity) > 0:
		keyless = "spec.verify.matchOIDCIdentity"
	case t.TrustedRootSecretRef != nil:
		keyless = "spec.verify.trustedRootSecretRef"
	}
	switch {
	case t.Provider != byCosign && t.Provider != byNotation && t.Provider != "":
		return fmt.Errorf("%w: spec.verify.provider %q is not known: use %q or %q", ErrSpec, t.Provider, byCosign, byNotation)
	case t.Provider == byNotation && t.SecretRef == nil:
		return fmt.Errorf("%w: spec.verify.secretRef is missing: %s needs a trust policy and certificates", ErrSpec, byNotation)
	case t.Provider == byNotation && keyless != "":
		return fmt.Errorf("%w: %s is for keyless signatures of cosign: remove it, or use the provider %q", ErrSpec, keyless, byCosign)
	case t.SecretRef != nil && keyless != "":
		return fmt.Errorf("%w: %s is for keyless signatures, which are not looked at while spec.verify.secretRef names public keys: remove one of them", ErrSpec, keyless)
	}
	return nil
}
