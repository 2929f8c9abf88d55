// Package v1 holds the kinds of the image.toolkit.fluxcd.io/v1 API group: ImageRepository lists the tags of an image,
// ImagePolicy picks the newest, and ImageUpdateAutomation writes it into Git.
//
// +kubebuilder:object:generate=true
// +groupName=image.toolkit.fluxcd.io
package v1
