package kustomization

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
)

// originRevision is the artifact metadata in which an OCI artifact says which
// commit it was made from (OCI image spec, pre-defined annotation keys).
const originRevision = "org.opencontainers.image.revision"

// producer is a kind that publishes artifacts.
type producer interface {
	client.Object
	GetArtifact() *meta.Artifact
}

// producers names the kinds that a sourceRef may have.
var producers = map[string]func() producer{
	sourcev1.GitRepositoryKind: func() producer { return &sourcev1.GitRepository{} },
	sourcev1.OCIRepositoryKind: func() producer { return &sourcev1.OCIRepository{} },
	sourcev1.BucketKind:        func() producer { return &sourcev1.Bucket{} },

	sourcev1.ExternalArtifactKind: func() producer { return &sourcev1.ExternalArtifact{} }, // behind a gate
}

// source is where a Kustomization gets its files from.
type source struct {
	kind     string
	key      client.ObjectKey
	artifact *meta.Artifact
}

func (s *source) String() string { return fmt.Sprintf("%s/%s/%s", s.kind, s.key.Namespace, s.key.Name) }

func (s *source) origin() string { return s.artifact.Metadata[originRevision] }

// metadata is what goes with each event about this source's revision.
func (s *source) metadata(more ...string) map[string]string {
	out := map[string]string{"revision": s.artifact.Revision, "originRevision": s.origin()}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// sourceKey is where spec.sourceRef points.
func sourceKey(k *kustomizev1.Kustomization) client.ObjectKey {
	key := client.ObjectKey{Namespace: k.Spec.SourceRef.Namespace, Name: k.Spec.SourceRef.Name}
	if key.Namespace == "" {
		key.Namespace = k.Namespace
	}
	return key
}

// source returns the source of k, which has an artifact.
func (r *Reconciler) source(ctx context.Context, k *kustomizev1.Kustomization) (*source, error) {
	s := &source{kind: k.Spec.SourceRef.Kind, key: sourceKey(k)}
	if r.NoCrossNamespaceRefs && s.key.Namespace != k.Namespace {
		return nil, loop.Stall(acl.AccessDeniedReason, fmt.Errorf(
			"can't access %q: references to other namespaces are not allowed on this cluster; use a source in namespace %q", s, k.Namespace))
	}
	make, ok := producers[s.kind]
	if s.kind == sourcev1.ExternalArtifactKind && !r.ExternalArtifacts {
		return nil, loop.Stall(meta.FeatureGateDisabledReason, fmt.Errorf(
			"spec.sourceRef.kind %q needs the feature gate ExternalArtifact of the controller", s.kind))
	}
	if !ok {
		return nil, loop.Stall(meta.FeatureGateDisabledReason, fmt.Errorf(
			"spec.sourceRef.kind %q is not supported by this version; use GitRepository, OCIRepository or Bucket", s.kind))
	}
	obj := make()
	var reader client.Reader = r.Client
	if r.FreshSources {
		reader = r.Live
	}
	err := reader.Get(ctx, s.key, obj)
	switch {
	case apierrors.IsNotFound(err):
		return nil, loop.Wait(meta.ArtifactFailedReason, r.RequeueDependency, fmt.Errorf("source %q not found: create it or correct spec.sourceRef", s))
	case apimeta.IsNoMatchError(err):
		return nil, loop.Wait(meta.ArtifactFailedReason, r.RequeueDependency, fmt.Errorf("kind %s is not served by this cluster: install its custom resource definition", s.kind))
	case err != nil:
		return nil, loop.Retry(meta.ArtifactFailedReason, fmt.Errorf("reading source %q: %w", s, err))
	}
	if s.artifact = obj.GetArtifact(); s.artifact == nil {
		return nil, loop.Wait(meta.ArtifactFailedReason, r.RequeueDependency, fmt.Errorf("source %q is not ready: it has no artifact yet", s))
	}
	return s, nil
}
