package v1

import (
	"time"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// HelmRepositoryKind is the kind of a HelmRepository.
const HelmRepositoryKind = "HelmRepository"

// Values of HelmRepositorySpec.Type.
const (
	// HelmRepositoryTypeDefault is a repository with an index, over HTTP(S). It is the default.
	HelmRepositoryTypeDefault = "default"
	// HelmRepositoryTypeOCI is a registry. It has no index, so such a HelmRepository is only looked up, never reconciled.
	HelmRepositoryTypeOCI = "oci"
)

// HelmRepositorySpec says which Helm repository to follow, and how.
type HelmRepositorySpec struct {
	// URL is the address of the repository: http or https for one with an index, oci for a registry.
	// +kubebuilder:validation:Pattern="^(http|https|oci)://.*$"
	// +required
	URL string `json:"url"`

	// SecretRef names a Secret in the same namespace with the credentials: "username" and "password", for a registry also
	// of the type kubernetes.io/dockerconfigjson.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// CertSecretRef names a Secret in the same namespace with TLS material: "ca.crt" to trust, "tls.crt" and "tls.key" to
	// present.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// PassCredentials sends the credentials also to other hosts that the index points to. Off by default; it can leak
	// them when the index is not trustworthy.
	// +optional
	PassCredentials bool `json:"passCredentials,omitempty"`

	// Interval is the time between two fetches of the index, one minute by default. Each is varied a little. Without
	// effect for type oci.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Interval duration.Duration `json:"interval,omitempty"`

	// Insecure speaks plain HTTP to a registry. Off by default, and only for type oci.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Timeout bounds the fetch of the index, and of a chart from a registry; 60 seconds by default. Hours are not accepted.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// Suspend stops the reconciliation of this repository. What has been published stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom is reserved for allowing objects of other namespaces to use this repository. It has no effect.
	// +optional
	AccessFrom *acl.AccessFrom `json:"accessFrom,omitempty"`

	// Type is "default" (also when empty) for a repository with an index, "oci" for a registry.
	// +kubebuilder:validation:Enum=default;oci
	// +optional
	Type string `json:"type,omitempty"`

	// Provider is how to log in to a registry: "generic" (the default) with the Secret, "aws", "azure" or "gcp" with a
	// workload identity. Only for type oci.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`
}

// HelmRepositoryStatus is what was last seen of the repository.
type HelmRepositoryStatus struct {
	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the repository is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// URL is a stable address at which the newest index is served.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact is the index that was last published.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// HelmRepository follows the index of a Helm chart repository, or names a registry that holds charts.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=helmrepo,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type HelmRepository struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec HelmRepositorySpec `json:"spec,omitempty"`

	// Status is what was last seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status HelmRepositoryStatus `json:"status,omitempty"`
}

// HelmRepositoryList is a list of HelmRepositories.
//
// +kubebuilder:object:root=true
type HelmRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the repositories.
	// +required
	Items []HelmRepository `json:"items"`
}

// GetTimeout returns spec.timeout, defaulted to a minute.
func (in *HelmRepository) GetTimeout() time.Duration {
	if in.Spec.Timeout != nil {
		return in.Spec.Timeout.Duration
	}
	return time.Minute
}
