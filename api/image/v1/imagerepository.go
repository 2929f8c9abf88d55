package v1

import (
	"time"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

const (
	// ImageRepositoryKind is the kind of an ImageRepository.
	ImageRepositoryKind = "ImageRepository"

	// ImageFinalizer is the finalizer that the controller keeps on an ImageRepository and an ImagePolicy.
	ImageFinalizer = "finalizers.fluxcd.io"
)

// ImageRepositorySpec says which image to look at, and how.
type ImageRepositorySpec struct {
	// Image is the name of the image, with its registry and without a tag: "ghcr.io/org/app".
	// +required
	Image string `json:"image,omitempty"`

	// Interval is the time between two scans. Each is varied a little. Zero means never again until something asks for it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval,omitempty"`

	// Timeout bounds a scan; the interval by default, and never under a second. Hours are not accepted.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// SecretRef names a Secret of the type kubernetes.io/dockerconfigjson in the same namespace.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ProxySecretRef names a Secret in the same namespace with the HTTP proxy to go through: "address" and, optionally,
	// "username" and "password".
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// ServiceAccountName names a ServiceAccount in the same namespace whose image pull secrets are used and, with another
	// provider than generic, its workload identity. 253 characters at most.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names a Secret in the same namespace with TLS material: "ca.crt" to trust, "tls.crt" and "tls.key" to
	// present.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// Suspend stops the scans of this image. What was found stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom allows ImagePolicies of other namespaces to use this repository; only those of the same namespace by
	// default.
	// +optional
	AccessFrom *acl.AccessFrom `json:"accessFrom,omitempty"`

	// ExclusionList holds up to 25 Go regular expressions of tags to pass over; signatures ("^.*\.sig$") by default.
	// +kubebuilder:default:={"^.*\\.sig$"}
	// +kubebuilder:validation:MaxItems:=25
	// +optional
	ExclusionList []string `json:"exclusionList,omitempty"`

	// Provider is how to log in: "generic" (the default) with the Secret, "aws", "azure" or "gcp" with a workload identity.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// Insecure speaks plain HTTP to the registry. Off by default.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// ScanResult is what a scan has found.
type ScanResult struct {
	// Revision is a checksum of the tags.
	// +optional
	Revision string `json:"revision"`

	// TagCount is the number of tags, without those that are passed over.
	// +required
	TagCount int `json:"tagCount"`

	// ScanTime is when the scan was made.
	// +optional
	ScanTime metav1.Time `json:"scanTime"`

	// LatestTags are some of the tags, the greatest first in the order of their names.
	// +optional
	LatestTags []string `json:"latestTags,omitempty"`
}

// ImageRepositoryStatus is what was last seen of the image.
type ImageRepositoryStatus struct {
	// Conditions tell how the repository is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first scan.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// CanonicalImageName is the name of the image with everything implied written out: "docker.io/library/alpine".
	// +optional
	CanonicalImageName string `json:"canonicalImageName,omitempty"`

	// LastScanResult is what the last successful scan has found.
	// +optional
	LastScanResult *ScanResult `json:"lastScanResult,omitempty"`

	// ObservedExclusionList is the spec.exclusionList that the last scan was made with.
	// +optional
	ObservedExclusionList []string `json:"observedExclusionList,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// ImageRepository lists the tags of an image in a registry.
//
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=imgrepo;imagerepo,categories=all;fluxcd;fluxcd-images
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`
// +kubebuilder:printcolumn:name="Tags",type=string,JSONPath=`.status.lastScanResult.tagCount`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Last scan",type=string,JSONPath=`.status.lastScanResult.scanTime`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ImageRepository struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec ImageRepositorySpec `json:"spec,omitempty"`

	// Status is what was last seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ImageRepositoryStatus `json:"status,omitempty"`
}

// ImageRepositoryList is a list of ImageRepositories.
//
// +kubebuilder:object:root=true
type ImageRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the repositories.
	// +required
	Items []ImageRepository `json:"items"`
}

// GetTimeout returns spec.timeout, or the interval, but at least a second.
func (in *ImageRepository) GetTimeout() time.Duration {
	timeout := in.Spec.Interval.Duration
	if in.Spec.Timeout != nil {
		timeout = in.Spec.Timeout.Duration
	}
	return max(timeout, time.Second)
}

// GetExclusionList returns spec.exclusionList, defaulted.
func (in *ImageRepository) GetExclusionList() []string {
	if len(in.Spec.ExclusionList) > 0 {
		return in.Spec.ExclusionList
	}
	return []string{`^.*\.sig$`}
}

// GetProvider returns spec.provider, defaulted.
func (in *ImageRepository) GetProvider() string {
	if in.Spec.Provider != "" {
		return in.Spec.Provider
	}
	return "generic"
}
