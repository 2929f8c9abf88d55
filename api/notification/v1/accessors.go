package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetConditions returns status.conditions.
func (in *Receiver) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *Receiver) SetConditions(conditions []metav1.Condition) { in.Status.Conditions = conditions }

// GetObservedGeneration returns status.observedGeneration.
func (in *Receiver) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *Receiver) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *Receiver) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *Receiver) SetLastHandledReconcileAt(token string) { in.Status.LastHandledReconcileAt = token }

// IsSuspended returns spec.suspend.
func (in *Receiver) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval, defaulted to ten minutes.
func (in *Receiver) GetInterval() time.Duration {
	if in.Spec.Interval == nil {
		return 10 * time.Minute
	}
	return in.Spec.Interval.Duration
}
