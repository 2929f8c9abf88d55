package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/weirhq/weir/api/duration"
)

const (
	// ImageUpdateAutomationKind is the kind of an ImageUpdateAutomation.
	ImageUpdateAutomationKind = "ImageUpdateAutomation"

	// ImageUpdateAutomationFinalizer is the finalizer that the controller keeps on an ImageUpdateAutomation.
	ImageUpdateAutomationFinalizer = "finalizers.fluxcd.io"
)

// ImageUpdateAutomationSpec says which images to write into which repository, and how.
type ImageUpdateAutomationSpec struct {
	// SourceRef names the GitRepository to write to.
	// +required
	SourceRef CrossNamespaceSourceReference `json:"sourceRef"`

	// GitSpec says how to check out, commit and push. Needed to write anything.
	// +optional
	GitSpec *GitSpec `json:"git,omitempty"`

	// Interval is the time between two runs. Each is varied a little. Zero means never again until something asks for it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval"`

	// PolicySelector selects the ImagePolicies of the same namespace to take part. All by default.
	// +optional
	PolicySelector *metav1.LabelSelector `json:"policySelector,omitempty"`

	// Update is where in the files, and how, images are written; markers in all files by default.
	// +kubebuilder:default={"strategy":"Setters"}
	// +optional
	Update *UpdateStrategy `json:"update,omitempty"`

	// Suspend stops the runs of this automation.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// UpdateStrategyName is how the places to write to are found.
//
// +kubebuilder:validation:Enum=Setters
type UpdateStrategyName string

// UpdateStrategySetters writes to fields that a comment marks: # {"$imagepolicy": "<namespace>:<name>"}
const UpdateStrategySetters UpdateStrategyName = "Setters"

// UpdateStrategy is where and how images are written.
type UpdateStrategy struct {
	// Strategy is how the places to write to are found; "Setters" (the default), by comments, is the only one.
	// +kubebuilder:default=Setters
	// +optional
	Strategy UpdateStrategyName `json:"strategy,omitempty"`

	// Path is the directory whose files are written to, relative to the root of the repository. The root by default.
	// +optional
	Path string `json:"path,omitempty"`
}

// ImageUpdateAutomationStatus is what was last done.
type ImageUpdateAutomationStatus struct {
	// LastAutomationRunTime is when the automation has last run.
	// +optional
	LastAutomationRunTime *metav1.Time `json:"lastAutomationRunTime,omitempty"`

	// LastPushCommit is the hash of the commit that was last pushed.
	// +optional
	LastPushCommit string `json:"lastPushCommit,omitempty"`

	// LastPushTime is when it was pushed.
	// +optional
	LastPushTime *metav1.Time `json:"lastPushTime,omitempty"`

	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first run.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the automation is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedPolicies are the ImagePolicies, by name, and the images that they had chosen at the last run.
	// +optional
	ObservedPolicies ObservedPolicies `json:"observedPolicies,omitempty"`

	// ObservedSourceRevision is the revision of the repository that the last run has started from.
	// +optional
	ObservedSourceRevision string `json:"observedSourceRevision,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// ObservedPolicies holds the images that ImagePolicies have chosen, by the name of the policy.
type ObservedPolicies map[string]ImageRef

// ImageUpdateAutomation writes the images that ImagePolicies have chosen into a Git repository.
//
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=iua;imgupd;imgauto,categories=all;fluxcd;fluxcd-images
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Last run",type=string,JSONPath=`.status.lastAutomationRunTime`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type ImageUpdateAutomation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec ImageUpdateAutomationSpec `json:"spec,omitempty"`

	// Status is what was last done. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ImageUpdateAutomationStatus `json:"status,omitempty"`
}

// ImageUpdateAutomationList is a list of ImageUpdateAutomations.
//
// +kubebuilder:object:root=true
type ImageUpdateAutomationList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the automations.
	// +required
	Items []ImageUpdateAutomation `json:"items"`
}
