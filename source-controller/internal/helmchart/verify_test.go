package helmchart

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/source-controller/internal/signature/signaturetest"
)

// TestVerify asserts that a chart is published only with a signature by the key.
func TestVerify(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	key, other := signaturetest.NewKey(t), signaturetest.NewKey(t)
	for name, k := range map[string][]byte{"key": signaturetest.PEM(t, key), "other": signaturetest.PEM(t, other)} {
		g.Secret(name, "cosign.pub", string(k))
	}
	digest := g.push("charts/app", "1.0.0", archive(t, "app", files("app", "1.0.0")))
	signaturetest.PutLayers(t, digest, signaturetest.KeyLayer(t, key, signaturetest.Payload(digest.DigestStr())))
	trust := func(secret string) func(*sourcev1.HelmChartSpec) {
		return func(s *sourcev1.HelmChartSpec) {
			s.Verify = &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: &meta.LocalObjectReference{Name: secret}}
		}
	}
	g.create("app", "HelmRepository", "oci", "app", trust("key"))
	obj := g.Ready("app")
	if !apimeta.IsStatusConditionTrue(obj.Status.Conditions, sourcev1.SourceVerifiedCondition) {
		t.Errorf("got %+v", obj.Status.Conditions)
	}
	g.create("forged", "HelmRepository", "oci", "app", trust("other"))
	if obj := g.fails("forged", "ChartVerificationError", "no trusted signature"); obj.Status.Artifact != nil {
		t.Error("what is not trusted is published")
	}
	trust("other")(&obj.Spec) // what is published was trusted by another key
	must(t, g.C.Update(t.Context(), obj))
	g.fails("app", "ChartVerificationError", "")
	g.fails("app", "ChartVerificationError", "")
	g.create("web", "HelmRepository", "web", "app", trust("key"))
	g.offer("app@1.0.0")
	if obj := g.fails("web", "ChartVerificationError", "spec.verify"); !apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.StalledCondition) {
		t.Error("a field without effect does not stall")
	}
}
