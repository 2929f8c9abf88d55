package kustomization

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/telemetry"
)

// driftCorrected is the reason of events about objects that somebody had
// changed or deleted.
const driftCorrected = "DriftCorrected"

// apply makes the cluster have the built objects and removes those that left
// the source. It returns what became of each object.
//
// The inventory always holds at least what is on the cluster: an object enters
// it before it is applied, and leaves it after it is gone.
func (r *Reconciler) apply(ctx context.Context, k *kustomizev1.Kustomization, s *source, applier *apply.Applier, built *build.Result, d demands) ([]apply.Change, error) {
	result, known, err := r.write(ctx, k, s, applier, built, d)
	if err != nil {
		return nil, err
	}
	pruned, err := r.prune(ctx, k, s, applier, known, result.Inventory)
	return append(result.Changes, pruned...), err
}

// write makes the cluster have the built objects. Besides what was done it
// returns what is in the inventory then.
func (r *Reconciler) write(ctx context.Context, k *kustomizev1.Kustomization, s *source, applier *apply.Applier, built *build.Result, d demands) (*apply.Result, []apply.Ref, error) {
	telemetry.Enter(ctx, telemetry.Apply)
	loop.Progress(ctx, fmt.Sprintf("Detecting drift for revision %s with a timeout of %s", s.artifact.Revision, k.GetTimeout()))
	owned, err := inventory(k)
	if err != nil {
		return nil, nil, loop.Stall(meta.ReconciliationFailedReason, err)
	}
	if err := fits(owned, built); err != nil {
		return nil, nil, loop.RetryAfter(meta.ReconciliationFailedReason, k.GetRetryInterval(), err)
	}
	known := owned
	record := func(refs []apply.Ref) error {
		known = union(known, refs)
		if len(known) == len(owned) {
			return nil
		}
		k.Status.Inventory = entries(known)
		return tooLarge(loop.Save(ctx, k), len(known))
	}
	set := apply.Set{Owner: client.ObjectKeyFromObject(k), Objects: built.Objects, Force: k.Spec.Force,
		Recheck: r.recheck(k), Ignore: d.ignore,
		KeepOwners: d.wishes.KeepOwners, ContinueOnError: d.wishes.ContinueOnError,
		ReportDrift: d.wishes.ReportDrift, Former: appliedBefore(k, s, built)}
	result, err := applier.Apply(ctx, set, record)
	if result != nil {
		r.tellChanges(k, s, result.Changes)
	}
	m := r.recall(k)
	if err != nil {
		return nil, nil, m.refused(k, err)
	}
	m.generation, m.recheck, m.anew = k.Generation, false, time.Time{}
	r.reportDrift(k, s, result.Changes)
	return result, known, nil
}

// lookForGone is when to look again for objects that are to be gone, if nobody tells
// that they are.
const lookForGone = 5 * time.Second

// refused says what an error of an Apply means for k. Objects that are still being
// deleted, to be made anew, are waited for until k's timeout, without a worker.
func (m *memory) refused(k *kustomizev1.Kustomization, err error) error {
	switch {
	case !apply.Terminating(err):
		m.anew = time.Time{}
	case m.anew.IsZero():
		m.anew = time.Now()
		fallthrough
	case time.Since(m.anew) < k.GetTimeout():
		return loop.Wait(meta.ProgressingReason, lookForGone, fmt.Errorf("waiting for the deletion of objects that are to be made anew: %w", err))
	}
	return loop.RetryAfter(meta.ReconciliationFailedReason, k.GetRetryInterval(), err)
}

// written reports whether a change was made to the cluster.
func written(c apply.Change) bool {
	return c.Action != apply.Unchanged && c.Action != apply.Skipped && c.Action != apply.Drifted
}

// tooLarge explains that an inventory does not fit into an object, if that is
// why it could not be saved. How much fits is up to etcd and its settings.
func tooLarge(err error, count int) error {
	if err == nil || !apierrors.IsRequestEntityTooLargeError(err) && !strings.Contains(err.Error(), "too large") &&
		!strings.Contains(err.Error(), "larger than max") {
		return err
	}
	return fmt.Errorf("the inventory of %d objects does not fit into status.inventory: divide the source into several Kustomizations: %w", count, err)
}

// prune deletes what is in the inventory and not in the build any more.
func (r *Reconciler) prune(ctx context.Context, k *kustomizev1.Kustomization, s *source, a *apply.Applier, known, wanted []apply.Ref) ([]apply.Change, error) {
	stale := difference(known, wanted)
	k.Status.Inventory = entries(wanted)
	if !k.Spec.Prune || len(stale) == 0 {
		return nil, nil
	}
	telemetry.Enter(ctx, telemetry.Prune)
	k.Status.Inventory = entries(union(wanted, stale)) // until they are gone
	changes, survivors, err := a.Prune(ctx, client.ObjectKeyFromObject(k), stale, apply.PruneOptions{})
	k.Status.Inventory = entries(union(wanted, survivors))
	r.tellChanges(k, s, changes)
	if err != nil {
		return changes, loop.RetryAfter(meta.PruneFailedReason, k.GetRetryInterval(), err)
	}
	return changes, nil
}

// recheck reports whether every object has to be asked for, instead of only
// those that the watch marked: when the spec changed, which may mean other
// rights, and when somebody asks for a reconciliation by hand. It stays so until
// all of them could be: that nothing has drifted is no answer to whether k may
// apply it. Kinds whose watch is blind are asked for in any case.
func (r *Reconciler) recheck(k *kustomizev1.Kustomization) bool {
	m := r.recall(k)
	asked, _ := meta.ReconcileAnnotationValue(k.GetAnnotations())
	m.recheck = m.recheck || m.generation != 0 && m.generation != k.Generation ||
		asked != k.Status.GetLastHandledReconcileRequest()
	return m.recheck
}

// tellChanges records what was done to the cluster, one event for a release
// and one for corrections.
func (r *Reconciler) tellChanges(k *kustomizev1.Kustomization, s *source, changes []apply.Change) {
	var released, corrected []string
	grouped := map[string][]string{}
	for _, c := range changes {
		switch {
		case !written(c):
		case c.Drift:
			corrected = append(corrected, correction(c))
		case r.GroupChanges:
			grouped[c.Action] = append(grouped[c.Action], c.Ref.String())
		default:
			released = append(released, c.Ref.String()+" "+c.Action)
		}
		if c.From.Name != "" {
			released = append(released, fmt.Sprintf("%s taken over from Kustomization %s", c.Ref, c.From))
		}
	}
	for _, action := range []string{apply.Deleted, apply.Configured, apply.Created} {
		if names := grouped[action]; len(names) > 0 {
			released = slices.Insert(released, 0, action+":\n- "+strings.Join(names, "\n- "))
		}
	}
	if len(released) > 0 {
		r.Recorder.Normal(k, meta.ProgressingReason, strings.Join(released, "\n"), s.metadata())
	}
	if len(corrected) > 0 {
		corrections.WithLabelValues(k.Name, k.Namespace).Add(float64(len(corrected)))
		r.Recorder.Normal(k, driftCorrected, strings.Join(corrected, "\n"), s.metadata())
	}
}

func correction(c apply.Change) string {
	text := c.Ref.String() + " " + c.Action + ": drift corrected"
	if c.Action == apply.Created {
		text = c.Ref.String() + " " + c.Action + ": it had been deleted"
	}
	if c.Manager != "" {
		text += fmt.Sprintf(" (changed by field manager %q)", c.Manager)
	}
	if c.Fight {
		text += "; it is changed again and again, so the next corrections wait longer"
	}
	return text
}
