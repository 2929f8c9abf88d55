// Package v1 holds the kinds of the notification.toolkit.fluxcd.io/v1 API group: Receiver, which turns webhooks from
// outside into reconciliations.
//
// +kubebuilder:object:generate=true
// +groupName=notification.toolkit.fluxcd.io
package v1
