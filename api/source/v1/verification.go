package v1

import "github.com/fluxcd/pkg/apis/meta"

// OCIRepositoryVerification asks for a trusted signature of an OCI artifact.
type OCIRepositoryVerification struct {
	// Provider is the technology of the signature: "cosign" (the default) or "notation".
	// +kubebuilder:validation:Enum=cosign;notation
	// +kubebuilder:default:=cosign
	// +required
	Provider string `json:"provider"`

	// SecretRef names a Secret in the same namespace with what to trust: "*.pub" keys for cosign, "trustpolicy.json" and
	// certificates for notation. Without it cosign verifies keyless signatures.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// MatchOIDCIdentity lists who may have made a keyless signature; one match is enough. For cosign only.
	// +optional
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"`

	// TrustedRootSecretRef names a Secret in the same namespace with a Sigstore trusted root in "trusted_root.json", for
	// keyless signatures made with other than the public instance. For cosign only.
	// +optional
	TrustedRootSecretRef *meta.LocalObjectReference `json:"trustedRootSecretRef,omitempty"`
}

// HelmChartVerification asks for a trusted signature of a chart in a registry.
type HelmChartVerification struct {
	// Provider is the technology of the signature: "cosign" (the default) or "notation".
	// +kubebuilder:validation:Enum=cosign;notation
	// +kubebuilder:default:=cosign
	// +required
	Provider string `json:"provider"`

	// SecretRef names a Secret in the same namespace with what to trust: "*.pub" keys for cosign, "trustpolicy.json" and
	// certificates for notation. Without it cosign verifies keyless signatures.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// MatchOIDCIdentity lists who may have made a keyless signature; one match is enough. For cosign only.
	// +optional
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"`
}

// OIDCIdentityMatch describes an identity that a keyless signature may carry. Both patterns must match.
type OIDCIdentityMatch struct {
	// Issuer is a regular expression for the URL of the token's issuer.
	// +required
	Issuer string `json:"issuer"`

	// Subject is a regular expression for the subject of the token.
	// +required
	Subject string `json:"subject"`
}
