package process

import (
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// facts are what metrics tell of an object.
type facts struct {
	ready, reason string // of the Ready condition; empty without one
	suspended     bool
	revision      string
	source, url   string // where its content comes from, as far as it has one
	artifact      *meta.Artifact
}

// factsOf reads what every kind has in the same way, and then what only its own
// kind has.
func factsOf(obj client.Object) facts {
	var f facts
	if c, ok := obj.(interface{ GetConditions() []metav1.Condition }); ok {
		if ready := apimeta.FindStatusCondition(c.GetConditions(), meta.ReadyCondition); ready != nil {
			f.ready, f.reason = string(ready.Status), ready.Reason
		}
	}
	if s, ok := obj.(interface{ IsSuspended() bool }); ok {
		f.suspended = s.IsSuspended()
	}
	if a, ok := obj.(interface{ GetArtifact() *meta.Artifact }); ok {
		if f.artifact = a.GetArtifact(); f.artifact != nil {
			f.revision = f.artifact.Revision
		}
	}
	own(obj, &f)
	return f
}

func own(obj client.Object, f *facts) {
	switch o := obj.(type) {
	case *sourcev1.GitRepository:
		f.url = o.Spec.URL
	case *sourcev1.OCIRepository:
		f.url = o.Spec.URL
	case *sourcev1.HelmRepository:
		f.url = o.Spec.URL
	case *sourcev1.Bucket:
		f.url, f.source = o.Spec.Endpoint, o.Spec.BucketName
	case *sourcev1.HelmChart:
		f.source = o.Spec.SourceRef.Name
	case *kustomizev1.Kustomization:
		f.source, f.revision = o.Spec.SourceRef.Name, o.Status.LastAppliedRevision
	case *imagev1.ImageRepository:
		f.url = o.Spec.Image
	case *imagev1.ImagePolicy:
		f.source = o.Spec.ImageRepositoryRef.Name
		if latest := o.Status.LatestRef; latest != nil {
			f.revision = latest.String()
		}
	case *imagev1.ImageUpdateAutomation:
		f.source, f.revision = o.Spec.SourceRef.Name, o.Status.LastPushCommit
	case *notificationv1beta3.Alert:
		f.suspended, f.source = o.Spec.Suspend, o.Spec.ProviderRef.Name
	case *notificationv1beta3.Provider:
		f.suspended = o.Spec.Suspend
	}
}
