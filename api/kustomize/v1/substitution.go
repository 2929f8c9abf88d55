package v1

// SubstituteStrategy says when variables are replaced.
type SubstituteStrategy string

const (
	// SubstituteStrategyWithVariables replaces variables if at least one is defined. It is the default.
	SubstituteStrategyWithVariables SubstituteStrategy = "WithVariables"
	// SubstituteStrategyAlways replaces variables even if none is defined, so that defaults in the manifests take effect.
	SubstituteStrategyAlways SubstituteStrategy = "Always"
)

// PostBuild replaces variables such as ${name} or ${name:=default} in the built manifests.
type PostBuild struct {
	// SubstituteStrategy is when to do so: "WithVariables" (also when empty) if at least one variable is defined,
	// "Always" also without.
	// +kubebuilder:validation:Enum=WithVariables;Always
	// +optional
	SubstituteStrategy SubstituteStrategy `json:"substituteStrategy,omitempty"`

	// Substitute defines variables by name. They win over those of substituteFrom. A name is made of letters, digits and
	// underscores and does not start with a digit.
	// +optional
	Substitute map[string]string `json:"substitute,omitempty"`

	// SubstituteFrom takes variables from ConfigMaps and Secrets of the same namespace; later ones win.
	// +optional
	SubstituteFrom []SubstituteReference `json:"substituteFrom,omitempty"`
}

// SubstituteReference names a ConfigMap or Secret with variables.
type SubstituteReference struct {
	// Kind is "ConfigMap" or "Secret".
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +required
	Kind string `json:"kind"`

	// Name is the name of the object, 1 to 253 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Optional passes over an object that is not there, instead of failing. Off by default.
	// +kubebuilder:default:=false
	// +optional
	Optional bool `json:"optional,omitempty"`
}
