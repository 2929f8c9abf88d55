package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// ImagePolicyKind is the kind of an ImagePolicy.
const ImagePolicyKind = "ImagePolicy"

// ImagePolicySpec says which tag of an image is the one to use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.interval) || (has(self.digestReflectionPolicy) && self.digestReflectionPolicy == 'Always')", message="spec.interval is only accepted when spec.digestReflectionPolicy is set to 'Always'"
// +kubebuilder:validation:XValidation:rule="has(self.interval) || !has(self.digestReflectionPolicy) || self.digestReflectionPolicy != 'Always'", message="spec.interval must be set when spec.digestReflectionPolicy is set to 'Always'"
type ImagePolicySpec struct {
	// ImageRepositoryRef names the ImageRepository with the tags. One of another namespace must allow it by accessFrom.
	// +required
	ImageRepositoryRef meta.NamespacedObjectReference `json:"imageRepositoryRef"`

	// Policy is how tags are compared; exactly one of its fields must be set.
	// +required
	Policy ImagePolicyChoice `json:"policy"`

	// FilterTags narrows the tags that are compared. All by default.
	// +optional
	FilterTags *TagFilter `json:"filterTags,omitempty"`

	// DigestReflectionPolicy is when the digest of the tag is looked up: "Never" (the default), "IfNotPresent" when the
	// tag changes, "Always" also each interval, for tags that move.
	// +kubebuilder:default:=Never
	// +optional
	DigestReflectionPolicy ReflectionPolicy `json:"digestReflectionPolicy,omitempty"`

	// Interval is the time between two looks at the digest. Required for the digest reflection policy "Always", and
	// accepted for no other.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Interval *duration.Duration `json:"interval,omitempty"`

	// Suspend stops the reconciliation of this policy. Its last choice stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ReflectionPolicy is when the digest of a tag is looked up.
//
// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
type ReflectionPolicy string

const (
	// ReflectAlways looks the digest up each interval.
	ReflectAlways ReflectionPolicy = "Always"
	// ReflectIfNotPresent looks the digest up when the tag has changed.
	ReflectIfNotPresent ReflectionPolicy = "IfNotPresent"
	// ReflectNever does not look the digest up. It is the default.
	ReflectNever ReflectionPolicy = "Never"
)

// Values of the order of an AlphabeticalPolicy and a NumericalPolicy.
const (
	// OrderAscending makes the last in ascending order the one to use. It is the default.
	OrderAscending = "asc"
	// OrderDescending makes the last in descending order the one to use.
	OrderDescending = "desc"
)

// ImagePolicyChoice is how tags are compared. Exactly one field must be set.
type ImagePolicyChoice struct {
	// SemVer compares tags as semantic versions.
	// +optional
	SemVer *SemVerPolicy `json:"semver,omitempty"`

	// Alphabetical compares tags letter by letter.
	// +optional
	Alphabetical *AlphabeticalPolicy `json:"alphabetical,omitempty"`

	// Numerical compares tags as numbers.
	// +optional
	Numerical *NumericalPolicy `json:"numerical,omitempty"`
}

// SemVerPolicy picks the highest semantic version of a range.
type SemVerPolicy struct {
	// Range is the range of versions, such as "1.x" or ">=1.2.0 <2.0.0".
	// +required
	Range string `json:"range"`
}

// AlphabeticalPolicy picks the last tag in the order of letters.
type AlphabeticalPolicy struct {
	// Order is "asc" (the default), where z is last, or "desc", where a is last.
	// +kubebuilder:default:="asc"
	// +kubebuilder:validation:Enum=asc;desc
	// +optional
	Order string `json:"order,omitempty"`
}

// NumericalPolicy picks the last tag in the order of numbers.
type NumericalPolicy struct {
	// Order is "asc" (the default), where the highest is last, or "desc", where the lowest is last.
	// +kubebuilder:default:="asc"
	// +kubebuilder:validation:Enum=asc;desc
	// +optional
	Order string `json:"order,omitempty"`
}

// TagFilter narrows tags, and can cut out the part of them to compare.
type TagFilter struct {
	// Pattern is a Go regular expression that a tag must match. Empty matches all.
	// +optional
	Pattern string `json:"pattern"`

	// Extract is what to compare instead of the whole tag, made of the pattern's groups: "$1" or "$name".
	// +optional
	Extract string `json:"extract"`
}

// ImageRef is an image with its tag.
type ImageRef struct {
	// Name is the name of the image, without a tag.
	// +required
	Name string `json:"name"`

	// Tag is the tag.
	// +required
	Tag string `json:"tag"`

	// Digest is what the tag pointed to when it was looked up, as "sha256:" and 64 hexadecimal digits. Empty when it was
	// not.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// String returns the image as "name:tag", with "@digest" after it when there is one.
func (in *ImageRef) String() string {
	if in.Digest == "" {
		return in.Name + ":" + in.Tag
	}
	return in.Name + ":" + in.Tag + "@" + in.Digest
}

// ImagePolicyStatus is what was last chosen.
type ImagePolicyStatus struct {
	// LatestRef is the image that the policy has chosen.
	// +optional
	LatestRef *ImageRef `json:"latestRef,omitempty"`

	// ObservedPreviousRef is what it had chosen before.
	// +optional
	ObservedPreviousRef *ImageRef `json:"observedPreviousRef,omitempty"`

	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first choice.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the policy is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// ImagePolicy picks one tag of an image.
//
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=imgpol;imagepol,categories=all;fluxcd;fluxcd-images
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.status.latestRef.name`
// +kubebuilder:printcolumn:name="Tag",type=string,JSONPath=`.status.latestRef.tag`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ImagePolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec ImagePolicySpec `json:"spec,omitempty"`

	// Status is what was last chosen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ImagePolicyStatus `json:"status,omitempty"`
}

// ImagePolicyList is a list of ImagePolicies.
//
// +kubebuilder:object:root=true
type ImagePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the policies.
	// +required
	Items []ImagePolicy `json:"items"`
}

// GetDigestReflectionPolicy returns spec.digestReflectionPolicy, defaulted.
func (in *ImagePolicy) GetDigestReflectionPolicy() ReflectionPolicy {
	if in.Spec.DigestReflectionPolicy == "" {
		return ReflectNever
	}
	return in.Spec.DigestReflectionPolicy
}
