package v1

import (
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetConditions returns status.conditions.
func (in *Bucket) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *Bucket) SetConditions(conditions []metav1.Condition) { in.Status.Conditions = conditions }

// GetObservedGeneration returns status.observedGeneration.
func (in *Bucket) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *Bucket) SetObservedGeneration(generation int64) { in.Status.ObservedGeneration = generation }

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *Bucket) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *Bucket) SetLastHandledReconcileAt(token string) { in.Status.LastHandledReconcileAt = token }

// IsSuspended returns spec.suspend.
func (in *Bucket) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *Bucket) GetInterval() time.Duration { return in.Spec.Interval.Duration }

// GetArtifact returns what was last published, nil before the first success.
func (in *Bucket) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetConditions returns status.conditions.
func (in *GitRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *GitRepository) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *GitRepository) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *GitRepository) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *GitRepository) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *GitRepository) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *GitRepository) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *GitRepository) GetInterval() time.Duration { return in.Spec.Interval.Duration }

// GetArtifact returns what was last published, nil before the first success.
func (in *GitRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetConditions returns status.conditions.
func (in *HelmChart) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *HelmChart) SetConditions(conditions []metav1.Condition) { in.Status.Conditions = conditions }

// GetObservedGeneration returns status.observedGeneration.
func (in *HelmChart) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *HelmChart) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *HelmChart) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *HelmChart) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *HelmChart) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *HelmChart) GetInterval() time.Duration { return in.Spec.Interval.Duration }

// GetArtifact returns what was last published, nil before the first success.
func (in *HelmChart) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetConditions returns status.conditions.
func (in *OCIRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *OCIRepository) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *OCIRepository) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *OCIRepository) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *OCIRepository) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *OCIRepository) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *OCIRepository) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *OCIRepository) GetInterval() time.Duration { return in.Spec.Interval.Duration }

// GetArtifact returns what was last published, nil before the first success.
func (in *OCIRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetConditions returns status.conditions.
func (in *HelmRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *HelmRepository) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *HelmRepository) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *HelmRepository) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *HelmRepository) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *HelmRepository) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *HelmRepository) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval, defaulted to a minute; 0, which is never, for type oci.
func (in *HelmRepository) GetInterval() time.Duration {
	switch {
	case in.Spec.Type == HelmRepositoryTypeOCI:
		return 0
	case in.Spec.Interval.Duration == 0:
		return time.Minute
	}
	return in.Spec.Interval.Duration
}

// GetArtifact returns what was last published, nil before the first success.
func (in *HelmRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetConditions returns status.conditions.
func (in *ExternalArtifact) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *ExternalArtifact) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetArtifact returns what was last published, nil before the first success.
func (in *ExternalArtifact) GetArtifact() *meta.Artifact { return in.Status.Artifact }
