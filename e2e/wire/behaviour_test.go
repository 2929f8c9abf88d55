package wire

import (
	"testing"
	"time"

	fluxreflectorv1 "github.com/fluxcd/image-reflector-controller/api/v1"
	fluxkustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxnotificationv1 "github.com/fluxcd/notification-controller/api/v1"
	fluxnotificationv1beta3 "github.com/fluxcd/notification-controller/api/v1beta3"
	"github.com/fluxcd/pkg/apis/meta"
	fluxsourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// same fills an object of Flux's type at random many times, reads it as ours and compares what answers returns for both.
func same[Theirs, Ours any](t *testing.T, theirs func(*Theirs) []any, ours func(*Ours) []any) {
	t.Helper()
	for seed := range int64(seeds) {
		in, out := new(Theirs), new(Ours)
		newFiller(seed).Fill(in)
		decodeStrictly(t, encode(t, in), out)
		if diff := cmp.Diff(theirs(in), ours(out)); diff != "" {
			t.Fatalf("seed %d: %T (-theirs +ours):\n%s", seed, out, diff)
		}
	}
}

// TestDefaults compares the methods that apply defaults.
func TestDefaults(t *testing.T) {
	same(t,
		func(k *fluxkustomizev1.Kustomization) []any {
			return []any{k.GetTimeout(), k.GetRetryInterval(), k.GetRequeueAfter(), k.GetDeletionPolicy(), string(k.GetSubstituteStrategy()), k.Spec.SourceRef.String()}
		},
		func(k *kustomizev1.Kustomization) []any {
			return []any{k.GetTimeout(), k.GetRetryInterval(), k.GetInterval(), k.GetDeletionPolicy(), string(k.GetSubstituteStrategy()), k.Spec.SourceRef.String()}
		})
	same(t,
		func(r *fluxsourcev1.GitRepository) []any {
			answers := []any{r.GetProvider(), r.GetRequeueAfter()}
			if v := r.Spec.Verification; v != nil {
				answers = append(answers, string(v.GetMode()), v.VerifyHEAD(), v.VerifyTag())
			}
			for _, include := range r.Spec.Include {
				answers = append(answers, include.GetFromPath(), include.GetToPath())
			}
			return answers
		},
		func(r *sourcev1.GitRepository) []any {
			answers := []any{r.GetProvider(), r.GetInterval()}
			if v := r.Spec.Verification; v != nil {
				answers = append(answers, string(v.GetMode()), v.VerifyHEAD(), v.VerifyTag())
			}
			for _, include := range r.Spec.Include {
				answers = append(answers, include.GetFromPath(), include.GetToPath())
			}
			return answers
		})
	same(t,
		func(r *fluxsourcev1.OCIRepository) []any { return []any{r.GetLayerMediaType(), r.GetLayerOperation()} },
		func(r *sourcev1.OCIRepository) []any { return []any{r.GetLayerMediaType(), r.GetLayerOperation()} })
	same(t,
		func(r *fluxsourcev1.HelmRepository) []any { return []any{r.GetTimeout(), r.GetRequeueAfter()} },
		func(r *sourcev1.HelmRepository) []any { return []any{r.GetTimeout(), r.GetInterval()} })
	same(t,
		func(r *fluxnotificationv1.Receiver) []any { return []any{r.GetInterval(), r.GetWebhookPath("token")} },
		func(r *notificationv1.Receiver) []any { return []any{r.GetInterval(), r.GetWebhookPath("token")} })
	same(t,
		func(p *fluxnotificationv1beta3.Provider) []any { return []any{p.GetTimeout()} },
		func(p *notificationv1beta3.Provider) []any { return []any{p.GetTimeout()} })
	same(t,
		func(r *fluxreflectorv1.ImageRepository) []any {
			return []any{r.GetTimeout(), r.GetExclusionList(), r.GetProvider()}
		},
		func(r *imagev1.ImageRepository) []any {
			return []any{r.GetTimeout(), r.GetExclusionList(), r.GetProvider()}
		})
	same(t,
		func(p *fluxreflectorv1.ImagePolicy) []any {
			return []any{p.GetInterval(), string(p.GetDigestReflectionPolicy())}
		},
		func(p *imagev1.ImagePolicy) []any {
			return []any{p.GetInterval(), string(p.GetDigestReflectionPolicy())}
		})
}

// TestHistory notes the same outcomes in both histories.
func TestHistory(t *testing.T) {
	var theirs meta.History
	var ours kustomizev1.History
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, digest := range []string{"a", "b", "a", "c", "d", "e", "f", "b", "f", "a"} {
		at, took, status := start.Add(time.Duration(i)*time.Minute), time.Duration(i)*time.Second, []string{"Good", "Bad"}[i%2]
		theirs.Upsert(digest, at, took, status, map[string]string{"revision": digest})
		ours.Upsert(digest, at, took, status, map[string]string{"revision": digest})
		if diff := cmp.Diff(generic(t, encode(t, theirs)), generic(t, encode(t, ours))); diff != "" {
			t.Fatalf("after %d outcomes (-theirs +ours):\n%s", i+1, diff)
		}
	}
}

// TestLenientDuration reads what stops a client with Flux's types: a duration that passes the schema and overflows.
func TestLenientDuration(t *testing.T) {
	data := []byte(`{"metadata":{},"spec":{"interval":"9999999999h","prune":true,"sourceRef":{"kind":"GitRepository","name":"x"}},` +
		`"status":{"history":[{"digest":"d","firstReconciled":null,"lastReconciled":null,"lastReconciledDuration":"9999999999h","lastReconciledStatus":"s","totalReconciliations":1}]}}`)
	ours := &kustomizev1.Kustomization{}
	decodeStrictly(t, data, ours)
	out := generic(t, encode(t, ours)).(map[string]any)
	if got := out["spec"].(map[string]any)["interval"]; got != "9999999999h" {
		t.Errorf("the interval became %v", got)
	}
	snapshot := out["status"].(map[string]any)["history"].([]any)[0].(map[string]any)
	if got := snapshot["lastReconciledDuration"]; got != "9999999999h" {
		t.Errorf("the duration of the snapshot became %v", got)
	}
}
