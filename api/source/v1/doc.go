// Package v1 holds the kinds of the source.toolkit.fluxcd.io/v1 API group: where desired state comes from. A source is
// fetched and published as an artifact, an archive that the other controllers download over HTTP.
//
// +kubebuilder:object:generate=true
// +groupName=source.toolkit.fluxcd.io
package v1
