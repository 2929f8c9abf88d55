package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetConditions returns status.conditions.
func (in *Kustomization) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions sets status.conditions.
func (in *Kustomization) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// GetObservedGeneration returns status.observedGeneration.
func (in *Kustomization) GetObservedGeneration() int64 { return in.Status.ObservedGeneration }

// SetObservedGeneration sets status.observedGeneration.
func (in *Kustomization) SetObservedGeneration(generation int64) {
	in.Status.ObservedGeneration = generation
}

// GetLastHandledReconcileAt returns the reconcile request that was last answered.
func (in *Kustomization) GetLastHandledReconcileAt() string { return in.Status.LastHandledReconcileAt }

// SetLastHandledReconcileAt notes the reconcile request that was answered.
func (in *Kustomization) SetLastHandledReconcileAt(token string) {
	in.Status.LastHandledReconcileAt = token
}

// IsSuspended returns spec.suspend.
func (in *Kustomization) IsSuspended() bool { return in.Spec.Suspend }

// GetInterval returns spec.interval.
func (in *Kustomization) GetInterval() time.Duration { return in.Spec.Interval.Duration }
