// Package v1beta3 holds the kinds of the notification.toolkit.fluxcd.io/v1beta3 API group: Alert, which selects events,
// and Provider, which says where they are sent. Neither has a status: they are configuration that is read when an event
// arrives.
//
// +kubebuilder:object:generate=true
// +groupName=notification.toolkit.fluxcd.io
package v1beta3
