package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

const (
	// OCIRepositoryKind is the kind of an OCIRepository.
	OCIRepositoryKind = "OCIRepository"

	// OCIRepositoryPrefix is what the URL of a registry starts with.
	OCIRepositoryPrefix = "oci://"
)

// Values of OCIRepositorySpec.Provider.
const (
	// GenericOCIProvider logs in with what the Secret holds. It is the default.
	GenericOCIProvider = "generic"
	// AmazonOCIProvider logs in to Amazon ECR with a workload identity.
	AmazonOCIProvider = "aws"
	// GoogleOCIProvider logs in to Google's registries with a workload identity.
	GoogleOCIProvider = "gcp"
	// AzureOCIProvider logs in to Azure's registries with a workload identity.
	AzureOCIProvider = "azure"
)

// Values of OCILayerSelector.Operation.
const (
	// OCILayerExtract unpacks the layer and publishes its files. It is the default.
	OCILayerExtract = "extract"
	// OCILayerCopy publishes the layer's archive byte for byte.
	OCILayerCopy = "copy"
)

// OCIRepositorySpec says which artifact of a registry to follow, and how.
type OCIRepositorySpec struct {
	// URL is the address of the repository, without a tag or digest: "oci://host/path".
	// +kubebuilder:validation:Pattern="^oci://.*$"
	// +required
	URL string `json:"url"`

	// Reference selects the artifact; the tag "latest" by default.
	// +optional
	Reference *OCIRepositoryRef `json:"ref,omitempty"`

	// LayerSelector selects the layer to publish; the first one, unpacked, by default.
	// +optional
	LayerSelector *OCILayerSelector `json:"layerSelector,omitempty"`

	// Provider is how to log in: "generic" (the default) with the Secret, "aws", "azure" or "gcp" with a workload identity.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// SecretRef names a Secret of the type kubernetes.io/dockerconfigjson in the same namespace.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Verify asks for a trusted signature. An artifact that lacks one is not published.
	// +optional
	Verify *OCIRepositoryVerification `json:"verify,omitempty"`

	// ServiceAccountName names a ServiceAccount in the same namespace whose image pull secrets are used and, with another
	// provider than generic, its workload identity.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names a Secret in the same namespace with TLS material: "ca.crt" to trust, "tls.crt" and "tls.key" to
	// present.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// ProxySecretRef names a Secret in the same namespace with the HTTP proxy to go through: "address" and, optionally,
	// "username" and "password".
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Interval is the time between two looks at the registry. Each is varied a little. Zero means never again until
	// something asks for it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval"`

	// Timeout bounds the operations on the registry, 60 seconds by default. Hours are not accepted.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// Ignore holds patterns, in the syntax of .gitignore, of files to leave out of the artifact. They come after the
	// built-in ones and after every .sourceignore file, and the last match decides. Without effect for the copy operation.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Insecure speaks plain HTTP to the registry. Off by default.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Suspend stops the reconciliation of this repository. What has been published stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// OCIRepositoryRef selects an artifact. When several fields are set, the first of digest, semver and tag wins.
type OCIRepositoryRef struct {
	// Digest pins to this digest, written as "sha256:" and 64 hexadecimal digits.
	// +optional
	Digest string `json:"digest,omitempty"`

	// SemVer selects the highest tag that is a semantic version in this range.
	// +optional
	SemVer string `json:"semver,omitempty"`

	// SemverFilter is a regular expression for the tags that semver looks at. All by default.
	// +optional
	SemverFilter string `json:"semverFilter,omitempty"`

	// Tag selects this tag; "latest" when nothing in the reference is set.
	// +optional
	Tag string `json:"tag,omitempty"`
}

// OCILayerSelector selects a layer of an artifact.
type OCILayerSelector struct {
	// MediaType selects the first layer of this media type; the first layer of all by default.
	// +optional
	MediaType string `json:"mediaType,omitempty"`

	// Operation is "extract" (also when empty) to unpack the layer and publish its files, or "copy" to publish the
	// layer's archive byte for byte.
	// +kubebuilder:validation:Enum=extract;copy
	// +optional
	Operation string `json:"operation,omitempty"`
}

// OCIRepositoryStatus is what was last seen of the repository.
type OCIRepositoryStatus struct {
	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the repository is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// URL is a stable address at which the newest artifact is served.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact is what was last published.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// ObservedIgnore is the spec.ignore that the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	// ObservedLayerSelector is the spec.layerSelector that the artifact was made with.
	// +optional
	ObservedLayerSelector *OCILayerSelector `json:"observedLayerSelector,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// OCIRepository follows an artifact in a container registry and publishes one of its layers.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=ocirepo,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type OCIRepository struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec OCIRepositorySpec `json:"spec,omitempty"`

	// Status is what was last seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status OCIRepositoryStatus `json:"status,omitempty"`
}

// OCIRepositoryList is a list of OCIRepositories.
//
// +kubebuilder:object:root=true
type OCIRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the repositories.
	// +required
	Items []OCIRepository `json:"items"`
}

// GetLayerMediaType returns the media type to select, "" for the first layer.
func (in *OCIRepository) GetLayerMediaType() string {
	if in.Spec.LayerSelector == nil {
		return ""
	}
	return in.Spec.LayerSelector.MediaType
}

// GetLayerOperation returns what to do with the layer, defaulted.
func (in *OCIRepository) GetLayerOperation() string {
	if in.Spec.LayerSelector == nil || in.Spec.LayerSelector.Operation == "" {
		return OCILayerExtract
	}
	return in.Spec.LayerSelector.Operation
}
