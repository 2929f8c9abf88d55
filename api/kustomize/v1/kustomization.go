package v1

import (
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

const (
	// KustomizationKind is the kind of a Kustomization.
	KustomizationKind = "Kustomization"

	// KustomizationFinalizer is the finalizer that the controller keeps on a Kustomization.
	KustomizationFinalizer = "finalizers.fluxcd.io"

	// MaxConditionMessageLength is the number of characters after which the message of a condition is cut.
	MaxConditionMessageLength = 20000
)

// Values of the kustomize.toolkit.fluxcd.io labels and annotations on applied objects.
const (
	// EnabledValue switches a behaviour on, such as "force: enabled".
	EnabledValue = "enabled"
	// DisabledValue switches a behaviour off, such as "prune: disabled".
	DisabledValue = "disabled"
	// MergeValue is a value of "ssa": apply, and keep the fields that other managers have added.
	MergeValue = "Merge"
	// IfNotPresentValue is a value of "ssa": create the object when it is absent and never change it.
	IfNotPresentValue = "IfNotPresent"
	// IgnoreValue is a value of "ssa": never apply the object.
	IgnoreValue = "Ignore"
)

// Values of KustomizationSpec.DeletionPolicy.
const (
	// DeletionPolicyMirrorPrune deletes the applied objects if spec.prune is set. It is the default.
	DeletionPolicyMirrorPrune = "MirrorPrune"
	// DeletionPolicyDelete deletes the applied objects, whatever spec.prune says.
	DeletionPolicyDelete = "Delete"
	// DeletionPolicyWaitForTermination deletes the applied objects and waits until they are gone.
	DeletionPolicyWaitForTermination = "WaitForTermination"
	// DeletionPolicyOrphan leaves the applied objects where they are.
	DeletionPolicyOrphan = "Orphan"
)

// KustomizationSpec says what to build, from which source, and how to apply it.
type KustomizationSpec struct {
	// CommonMetadata is added to every object that is applied; what an object has under the same key is overwritten.
	// +optional
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`

	// DependsOn lists Kustomizations that must be ready before this one is applied.
	// +optional
	DependsOn []DependencyReference `json:"dependsOn,omitempty"`

	// Decryption says how to decrypt the Secrets in the source. Without it nothing is decrypted.
	// +optional
	Decryption *Decryption `json:"decryption,omitempty"`

	// Interval is the time between two reconciliations when nothing else asks for one. Each is varied a little.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval"`

	// RetryInterval is the time after which a failed reconciliation is tried again; the interval by default.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	RetryInterval *duration.Duration `json:"retryInterval,omitempty"`

	// KubeConfig points to another cluster to apply to. The cluster that the controller runs in by default.
	// +optional
	KubeConfig *meta.KubeConfigReference `json:"kubeConfig,omitempty"`

	// Path is the directory to build, relative to the root of the source. When it has no kustomization.yaml, one is made
	// up of all its manifests, those below it included. The root by default.
	// +optional
	Path string `json:"path,omitempty"`

	// PostBuild replaces variables in the built manifests.
	// +optional
	PostBuild *PostBuild `json:"postBuild,omitempty"`

	// Prune deletes objects that were applied earlier and are no longer in the source.
	// +required
	Prune bool `json:"prune"`

	// DeletionPolicy is what becomes of the applied objects when this Kustomization is deleted: "MirrorPrune" (also when
	// empty) deletes them if prune is set, "Delete" deletes them always, "WaitForTermination" also waits until they are
	// gone, "Orphan" leaves them.
	// +kubebuilder:validation:Enum=MirrorPrune;Delete;WaitForTermination;Orphan
	// +optional
	DeletionPolicy string `json:"deletionPolicy,omitempty"`

	// HealthChecks lists objects that must become healthy for this Kustomization to be ready. Without effect when wait is
	// set.
	// +optional
	HealthChecks []meta.NamespacedObjectKindReference `json:"healthChecks,omitempty"`

	// NamePrefix is put before the name of every object; 1 to 200 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`

	// NameSuffix is put after the name of every object; 1 to 200 characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NameSuffix string `json:"nameSuffix,omitempty"`

	// Patches change the built objects, in this order: strategic merge or JSON 6902 patches.
	// +optional
	Patches []kustomize.Patch `json:"patches,omitempty"`

	// Images replace the name, tag or digest of container images.
	// +optional
	Images []kustomize.Image `json:"images,omitempty"`

	// ServiceAccountName names a ServiceAccount in the same namespace that everything is applied and deleted as. By
	// default the controller's own, or the one its flags name.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// SourceRef names the source of the manifests.
	// +required
	SourceRef CrossNamespaceSourceReference `json:"sourceRef"`

	// Suspend stops the reconciliation of this Kustomization. What has been applied stays as it is, and deleting a
	// suspended Kustomization deletes nothing else.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// TargetNamespace puts every namespaced object into this namespace, which must exist or be among the objects; 1 to 63
	// characters.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// Timeout bounds building, applying and the wait for health. By default the interval less 30 seconds; never under 30
	// seconds.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// Force deletes and creates again an object whose change the API server refuses because a field is immutable. Off by
	// default.
	// +kubebuilder:default:=false
	// +optional
	Force bool `json:"force,omitempty"`

	// Wait makes all applied objects count for health, instead of those in healthChecks. Off by default.
	// +optional
	Wait bool `json:"wait,omitempty"`

	// BuildMetadata asks the build to annotate each object with where it came from. Nothing by default.
	// +optional
	BuildMetadata []BuildMetadataOption `json:"buildMetadata,omitempty"`

	// Components lists directories of Kustomize components to add, relative to path.
	// +optional
	Components []string `json:"components,omitempty"`

	// IgnoreMissingComponents passes over components whose directory is not there, instead of failing. Off by default.
	// +optional
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`

	// HealthCheckExprs tell, as CEL expressions over an object, when objects of a custom kind are healthy.
	// +optional
	HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs,omitempty"`

	// Ignore lists fields that are neither applied nor looked at for drift.
	// +optional
	Ignore []IgnoreRule `json:"ignore,omitempty"`
}

// BuildMetadataOption is an annotation that the build can add.
//
// +kubebuilder:validation:Enum=originAnnotations;transformerAnnotations
type BuildMetadataOption string

const (
	// BuildMetadataOriginAnnotations notes the file that an object came from.
	BuildMetadataOriginAnnotations BuildMetadataOption = "originAnnotations"
	// BuildMetadataTransformerAnnotations notes the transformers that changed an object.
	BuildMetadataTransformerAnnotations BuildMetadataOption = "transformerAnnotations"
)

// CommonMetadata is metadata for every applied object.
type CommonMetadata struct {
	// Annotations are added to every object.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels are added to every object, not to selectors or templates.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
}

// IgnoreRule names fields to leave alone.
type IgnoreRule struct {
	// Paths are JSON pointers (RFC 6901) to the fields.
	// +required
	Paths []string `json:"paths"`

	// Target selects the objects that the rule is for. All by default.
	// +optional
	Target *kustomize.Selector `json:"target,omitempty"`
}

// Decryption says how to decrypt Secrets.
type Decryption struct {
	// Provider is the technology that they are encrypted with; "sops" is the only one.
	// +kubebuilder:validation:Enum=sops
	// +required
	Provider string `json:"provider"`

	// ServiceAccountName names a ServiceAccount in the same namespace whose workload identity is used for the key
	// management services of clouds.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// SecretRef names a Secret in the same namespace with keys: age in "*.agekey", OpenPGP in "*.asc", credentials of key
	// management services in "sops.*".
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`
}

// KustomizationStatus is what was last done and seen.
type KustomizationStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// ObservedGeneration is the generation of the spec that was last applied, or found unusable; -1 before.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the Kustomization is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastAppliedRevision is the revision of the source that was last applied with success.
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// LastAppliedOriginRevision is the revision that the source itself was made from, where it says so; for an OCI
	// artifact the Git revision.
	// +optional
	LastAppliedOriginRevision string `json:"lastAppliedOriginRevision,omitempty"`

	// LastAttemptedRevision is the revision of the source that was last tried.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// Inventory lists the objects that this Kustomization has applied and would prune.
	// +optional
	Inventory *ResourceInventory `json:"inventory,omitempty"`

	// History holds the last outcomes, newest first, five at most.
	// +optional
	History History `json:"history,omitempty"`
}

// Kustomization builds manifests from a source and keeps a cluster as they say. It is not the kustomization.yaml of
// Kustomize (kind Kustomization of kustomize.config.k8s.io), which it builds.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=ks,categories=all;fluxcd;fluxcd-appliers
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type Kustomization struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec KustomizationSpec `json:"spec,omitempty"`

	// Status is what was last done and seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status KustomizationStatus `json:"status,omitempty"`
}

// KustomizationList is a list of Kustomizations.
//
// +kubebuilder:object:root=true
type KustomizationList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the Kustomizations.
	// +required
	Items []Kustomization `json:"items"`
}

// minTimeout is the shortest time that a reconciliation gets.
const minTimeout = 30 * time.Second

// GetTimeout returns spec.timeout, or the interval less 30 seconds, but at least 30 seconds.
func (in *Kustomization) GetTimeout() time.Duration {
	timeout := in.Spec.Interval.Duration - minTimeout
	if in.Spec.Timeout != nil {
		timeout = in.Spec.Timeout.Duration
	}
	return max(timeout, minTimeout)
}

// GetRetryInterval returns spec.retryInterval, or the interval.
func (in *Kustomization) GetRetryInterval() time.Duration {
	if in.Spec.RetryInterval != nil {
		return in.Spec.RetryInterval.Duration
	}
	return in.Spec.Interval.Duration
}

// GetDeletionPolicy returns spec.deletionPolicy, defaulted.
func (in *Kustomization) GetDeletionPolicy() string {
	if in.Spec.DeletionPolicy == "" {
		return DeletionPolicyMirrorPrune
	}
	return in.Spec.DeletionPolicy
}

// GetSubstituteStrategy returns spec.postBuild.substituteStrategy, defaulted.
func (in *Kustomization) GetSubstituteStrategy() SubstituteStrategy {
	if in.Spec.PostBuild == nil || in.Spec.PostBuild.SubstituteStrategy == "" {
		return SubstituteStrategyWithVariables
	}
	return in.Spec.PostBuild.SubstituteStrategy
}
