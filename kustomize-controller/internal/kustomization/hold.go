package kustomization

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	// restored says that a former process applied it, and that built is what the
	// objects themselves told of it; lost are those that did not.
	restored bool
	lost     []apply.Ref
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
			m.passed, m.last = s.artifact.Revision+built.Digest, &release{source: s, built: built}
		}
		apimeta.RemoveStatusCondition(&k.Status.Conditions, heldCondition)
	}
	return h, nil
}

// keep leaves the cluster at what was let pass last, and corrects drift from it.
func (r *Reconciler) keep(ctx context.Context, k *kustomizev1.Kustomization, s *source, a *apply.Applier, d demands, h *hold, start time.Time) (loop.Done, error) {
	last, err := r.former(ctx, k, s, a)
	if err != nil {
		return loop.Done{}, loop.RetryAfter(meta.ReconciliationFailedReason, k.GetRetryInterval(), err)
	}
	message := h.message
	if last != nil && len(last.lost) > 0 {
		message += fmt.Sprintf("; the controller was restarted, and what it had applied of these objects is not known until then: %s", names(last.lost))
	}
	message = loop.Message(message)
	if apimeta.SetStatusCondition(&k.Status.Conditions, metav1.Condition{
		Type: heldCondition, Status: metav1.ConditionTrue, Reason: h.reason, Message: message, ObservedGeneration: k.Generation,
	}) {
		r.Recorder.Warning(k, h.reason, message, s.metadata())
	}
	after := k.Spec.Interval.Duration
	if h.after > 0 {
		after = min(after, h.after)
	}
	if last == nil {
		return loop.Done{Quiet: true}, loop.Wait(h.reason, after, errors.New(message)) // it was told above
	}
	done, err := r.upkeep(ctx, k, a, d, last, start)
	if done.Pending {
		after = min(after, done.After)
	}
	done.After = after
	return done, err
}

// upkeep is a release of what was let pass last: of what it did not get done, and
// of what has drifted or become unhealthy since.
func (r *Reconciler) upkeep(ctx context.Context, k *kustomizev1.Kustomization, a *apply.Applier, d demands, last *release, start time.Time) (loop.Done, error) {
	failed := func(err error) (loop.Done, error) {
		return loop.Done{Metadata: last.source.metadata()}, r.failed(k, last.source, last.built.Digest, start, err)
	}
	changes, err := r.correct(ctx, k, a, d, last)
	if err != nil {
		return failed(err)
	}
	healthy, err := r.health(ctx, k, last.source, a, last.built, d, changes)
	if err != nil {
		return failed(err)
	}
	switch finished := k.Status.LastAppliedRevision == last.source.artifact.Revision; {
	case !healthy.done:
		return healthy.pending(), nil
	case finished:
		return loop.Done{Reason: meta.ReconciliationSucceededReason, Message: "Applied revision: " + k.Status.LastAppliedRevision, Quiet: true}, nil
	}
	return r.succeeded(k, last.source, last.built.Digest, start), nil
}

// former returns what was applied last; nil if nothing was. What a former
// process applied, the objects tell: its source may be gone by now.
func (r *Reconciler) former(ctx context.Context, k *kustomizev1.Kustomization, s *source, a *apply.Applier) (*release, error) {
	m := r.recall(k)
	if m.last != nil || k.Status.LastAppliedRevision == "" {
		return m.last, nil
	}
	owned, err := inventory(k)
	if err != nil {
		return nil, err
	}
	objects, lost, err := a.Applied(ctx, client.ObjectKeyFromObject(k), owned)
	if err != nil {
		return nil, fmt.Errorf("looking for what was applied of revision %s, to correct drift: %w", k.Status.LastAppliedRevision, err)
	}
	m.last = &release{
		source: &source{kind: s.kind, key: s.key, artifact: &meta.Artifact{Revision: k.Status.LastAppliedRevision}},
		built:  &build.Result{Objects: objects}, restored: true, lost: lost,
	}
	return m.last, nil
}

// correct applies once more what was applied last. Of what was restored nothing
// is pruned: that an object is not among it is no reason.
func (r *Reconciler) correct(ctx context.Context, k *kustomizev1.Kustomization, a *apply.Applier, d demands, last *release) ([]apply.Change, error) {
	if !last.restored {
		return r.apply(ctx, k, last.source, a, last.built, d)
	}
	result, _, err := r.write(ctx, k, last.source, a, last.built, d)
	if err != nil {
		return nil, err
	}
	return result.Changes, nil
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
