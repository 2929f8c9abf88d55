package kustomization

import (
	"context"
	"errors"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/loop"
)

// release is what was applied last, for correcting drift while something newer
// is held back.
type release struct {
	source *source
	built  *build.Result
}

// held returns why the build is held back, nil if it is not. What was let pass
// once stays so while this process runs: a window that closes half-way through
// a revision would leave a mixture.
func (r *Reconciler) held(k *kustomizev1.Kustomization, s *source, built *build.Result, d demands) (*hold, error) {
	m := r.recall(k)
	var h *hold
	if d.wishes.Holds() && m.passed != s.artifact.Revision+built.Digest {
		owned, err := inventory(k)
		if err != nil {
			return nil, loop.Stall(meta.ReconciliationFailedReason, err)
		}
		var stale []apply.Ref
		if k.Spec.Prune {
			stale = dropped(owned, built)
		}
		h = mayApply(d.wishes, s.artifact.Revision, k.Status.LastAppliedRevision, owned, stale, time.Now())
	}
	if h == nil {
		m.passed, m.last = "", nil
		if d.wishes.Holds() {
			m.passed, m.last = s.artifact.Revision+built.Digest, &release{s, built}
		}
		apimeta.RemoveStatusCondition(&k.Status.Conditions, heldCondition)
	}
	return h, nil
}

// keep leaves the cluster at what was applied last. Drift from it is corrected
// if this process has applied it; after a restart it is not known any more.
func (r *Reconciler) keep(ctx context.Context, k *kustomizev1.Kustomization, s *source, a *apply.Applier, d demands, h *hold) (loop.Done, error) {
	if apimeta.SetStatusCondition(&k.Status.Conditions, metav1.Condition{
		Type: heldCondition, Status: metav1.ConditionTrue, Reason: h.reason, Message: h.message, ObservedGeneration: k.Generation,
	}) {
		r.Recorder.Warning(k, h.reason, h.message, s.metadata())
	}
	if last := r.recall(k).last; last != nil {
		if _, err := r.apply(ctx, k, last.source, a, last.built, d); err != nil {
			return loop.Done{}, err
		}
	}
	after := k.Spec.Interval.Duration
	if h.after > 0 {
		after = min(after, h.after)
	}
	if k.Status.LastAppliedRevision == "" {
		return loop.Done{}, loop.Wait(h.reason, after, errors.New(h.message))
	}
	return loop.Done{Reason: meta.ReconciliationSucceededReason, Message: "Applied revision: " + k.Status.LastAppliedRevision,
		After: after, Quiet: true}, nil
}

// dropped names what a build would delete. Where objects of a kind have no
// namespace is known of those in the inventory only, so they are compared
// without.
func dropped(owned []apply.Ref, built *build.Result) []apply.Ref {
	in := make(map[string]bool, 2*len(built.Objects))
	for _, o := range built.Objects {
		ref := apply.Ref{GroupVersionKind: o.GVK, Namespace: o.Namespace, Name: o.Name}
		in[ref.ID()] = true
		ref.Namespace = ""
		in[ref.ID()] = true
	}
	var out []apply.Ref
	for _, ref := range owned {
		if !in[ref.ID()] {
			out = append(out, ref)
		}
	}
	return out
}
