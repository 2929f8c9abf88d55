package v1

import "github.com/fluxcd/pkg/apis/meta"

// CrossNamespaceSourceReference names a source, possibly of another namespace.
type CrossNamespaceSourceReference struct {
	// APIVersion is the API version of the source; source.toolkit.fluxcd.io/v1 by default.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind is the kind of the source.
	// +kubebuilder:validation:Enum=OCIRepository;GitRepository;Bucket;ExternalArtifact
	// +required
	Kind string `json:"kind"`

	// Name is the name of the source.
	// +required
	Name string `json:"name"`

	// Namespace is where the source is; by default where the Kustomization is. The controller can be run so that no other
	// is allowed.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// String returns the reference as "Kind/name", or "Kind/namespace/name" when it has a namespace.
func (s *CrossNamespaceSourceReference) String() string {
	if s.Namespace != "" {
		return s.Kind + "/" + s.Namespace + "/" + s.Name
	}
	return s.Kind + "/" + s.Name
}

// DependencyReference names a Kustomization to wait for, with an optional CEL expression that replaces the usual test of
// its readiness.
type DependencyReference = meta.DependencyReference
