package v1

// CrossNamespaceObjectReference names one object, or all objects of a kind that carry certain labels.
type CrossNamespaceObjectReference struct {
	// APIVersion is the API version of the object. By default the current one of the kind's group; kinds whose group
	// cannot be told from the kind need it.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind is the kind of the object.
	// +kubebuilder:validation:Enum=Bucket;GitRepository;Kustomization;HelmRelease;HelmChart;HelmRepository;ImageRepository;ImagePolicy;ImageUpdateAutomation;OCIRepository;ArtifactGenerator;ExternalArtifact
	// +required
	Kind string `json:"kind"`

	// Name is the name of the object, 1 to 253 characters; "*" means every object of the kind.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Namespace is where the object is; by default where the object is that has this reference. The controller can be run
	// so that no other is allowed.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// MatchLabels narrows the name "*" to objects with all of these labels.
	// +optional
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}
