package helmchart

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
)

// source is a kind that charts come from.
type source interface {
	client.Object
	GetArtifact() *meta.Artifact
}

// newSource returns an empty object of the kind, or nil.
func newSource(kind string) source {
	switch kind {
	case sourcev1.HelmRepositoryKind:
		return &sourcev1.HelmRepository{}
	case sourcev1.GitRepositoryKind:
		return &sourcev1.GitRepository{}
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}
	}
	return nil
}

// build makes what obj asks for, as far as it is not there.
func (r *Reconciler) build(ctx context.Context, obj *sourcev1.HelmChart) (*build, error) {
	ref := obj.Spec.SourceRef
	src := newSource(ref.Kind)
	if group, _, _ := strings.Cut(ref.APIVersion, "/"); src == nil || ref.APIVersion != "" && group != sourcev1.GroupVersion.Group {
		return nil, loop.Stall(sourcev1.UnsupportedSourceKindReason, fmt.Errorf("spec.sourceRef: charts cannot come from %q of %q", ref.Kind, ref.APIVersion))
	}
	err := r.o.Client.Get(ctx, client.ObjectKey{Namespace: obj.Namespace, Name: ref.Name}, src)
	if apierrors.IsNotFound(err) {
		return nil, loop.Wait(sourcev1.SourceUnavailableReason, r.o.RequeueDependency, fmt.Errorf("spec.sourceRef: there is no %s %q in namespace %q", ref.Kind, ref.Name, obj.Namespace))
	}
	if err != nil {
		return nil, loop.Retry(sourcev1.SourceUnavailableReason, fmt.Errorf("spec.sourceRef: reading %s %q: %w", ref.Kind, ref.Name, err))
	}
	repo, remote := src.(*sourcev1.HelmRepository)
	registry := remote && repo.Spec.Type == sourcev1.HelmRepositoryTypeOCI
	if obj.Spec.Verify != nil && !registry {
		return nil, loop.Stall(sourcev1.ChartVerificationErrorReason, errors.New("spec.verify is for charts from a HelmRepository of the type \"oci\": remove it, and know that signatures are not verified then"))
	}
	if obj.Spec.Verify == nil {
		apimeta.RemoveStatusCondition(&obj.Status.Conditions, sourcev1.SourceVerifiedCondition)
	}
	if registry {
		return r.fromRegistry(ctx, obj, repo)
	}
	if src.GetArtifact() == nil {
		return nil, loop.Wait(sourcev1.NoSourceArtifactReason, r.o.RequeueDependency, fmt.Errorf("spec.sourceRef: %s %q has no artifact yet", ref.Kind, ref.Name))
	}
	if remote {
		return r.fromIndex(ctx, obj, repo)
	}
	return r.fromTree(ctx, obj, src.GetArtifact())
}
