// Package v1 holds the kind of the kustomize.toolkit.fluxcd.io/v1 API group: Kustomization, which builds manifests from a
// source and keeps a cluster as they say.
//
// +kubebuilder:object:generate=true
// +groupName=kustomize.toolkit.fluxcd.io
package v1
