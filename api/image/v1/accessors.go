package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetConditions returns status.conditions.
func (in *ImageRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *ImageRepository) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *ImageRepository) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *ImageRepository) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *ImageRepository) GetLastHandledReconcileAt() string {
	return in.Status.LastHandledReconcileAt
}

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *ImageRepository) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *ImageRepository) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *ImageRepository) GetInterval() time.Duration { return in.Spec.Interval.Duration }

// GetConditions returns status.conditions.
func (in *ImageUpdateAutomation) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *ImageUpdateAutomation) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *ImageUpdateAutomation) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *ImageUpdateAutomation) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *ImageUpdateAutomation) GetLastHandledReconcileAt() string {
	return in.Status.LastHandledReconcileAt
}

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *ImageUpdateAutomation) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *ImageUpdateAutomation) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *ImageUpdateAutomation) GetInterval() time.Duration { return in.Spec.Interval.Duration }

// GetConditions returns status.conditions.
func (in *ImagePolicy) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *ImagePolicy) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *ImagePolicy) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *ImagePolicy) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *ImagePolicy) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *ImagePolicy) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *ImagePolicy) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns the time between two looks at the digest, ten minutes when it is zero; 0, which is never, unless
// the digest is always reflected. A new scan of the ImageRepository brings the policy back without it.
func (in *ImagePolicy) GetInterval() time.Duration {
	if in.GetDigestReflectionPolicy() != ReflectAlways {
		return 0
	}
	if in.Spec.Interval == nil || in.Spec.Interval.Duration == 0 {
		return 10 * time.Minute
	}
	return in.Spec.Interval.Duration
}
