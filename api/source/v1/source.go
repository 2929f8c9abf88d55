package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// SourceFinalizer is the finalizer that the source controller keeps on the kinds that it reconciles.
const SourceFinalizer = "finalizers.fluxcd.io"

// Source is an object that publishes an artifact.
//
// +kubebuilder:object:generate=false
type Source interface {
	runtime.Object

	// GetArtifact returns what the source has published last, nil before its first success.
	GetArtifact() *meta.Artifact
}
