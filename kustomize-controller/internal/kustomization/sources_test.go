package kustomization

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// Every kind of source is applied, and the revision that its artifact was made
// from goes to status, history and events.
func TestSourcesOfAllKinds(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.o.ExternalArtifacts = true
	g.restart()
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	repo := &sourcev1.GitRepository{}
	if err := g.Get(t.Context(), g.key("source"), repo); err != nil {
		t.Fatal(err)
	}
	const origin = "main@sha1:0123456789abcdef0123456789abcdef01234567"
	artifact := repo.Status.Artifact.DeepCopy()
	artifact.Metadata = map[string]string{"org.opencontainers.image.revision": origin}
	named := metav1.ObjectMeta{Name: "other", Namespace: g.ns}
	hour := duration.New(time.Hour)
	oci := &sourcev1.OCIRepository{ObjectMeta: named, Spec: sourcev1.OCIRepositorySpec{URL: "oci://example.com/app", Interval: hour}}
	bucket := &sourcev1.Bucket{ObjectMeta: named, Spec: sourcev1.BucketSpec{BucketName: "b", Endpoint: "example.com", Interval: hour}}
	external := &sourcev1.ExternalArtifact{ObjectMeta: named}
	for kind, publish := range map[string]struct {
		obj client.Object
		set func()
	}{
		sourcev1.OCIRepositoryKind:    {oci, func() { oci.Status.Artifact = artifact }},
		sourcev1.BucketKind:           {bucket, func() { bucket.Status.Artifact = artifact }},
		sourcev1.ExternalArtifactKind: {external, func() { external.Status.Artifact = artifact }},
	} {
		if err := g.Create(t.Context(), publish.obj); err != nil {
			t.Fatal(err)
		}
		publish.set()
		if err := g.Status().Update(t.Context(), publish.obj); err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(kind)
		g.kustomization(name, func(s *kustomizev1.KustomizationSpec) {
			s.NamePrefix = name + "-"
			s.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: kind, Name: "other"}
		})
		g.told()
		k, _ := g.reconcile(name)
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
		if got := g.value(name + "-a"); got != "1" {
			t.Errorf("%s: what was applied is %s", kind, got)
		}
		if k.Status.LastAppliedOriginRevision != origin || k.Status.History.Latest().Metadata["originRevision"] != origin {
			t.Errorf("%s: the origin is %q, in the history %v", kind, k.Status.LastAppliedOriginRevision, k.Status.History.Latest().Metadata)
		}
		for _, e := range g.told() {
			if !strings.Contains(e, "kustomize.toolkit.fluxcd.io/originRevision:"+origin) {
				t.Errorf("%s: an event without the origin: %s", kind, e)
			}
		}
	}
}
