package kustomization

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/kustomize-controller/internal/wish"
)

// demands are what an object asks for, checked before anything is done.
type demands struct {
	expressions
	ignore apply.Ignore
	wishes wish.Wishes
}

// demands checks k. Its errors need an edit of k.
func (r *Reconciler) demands(k *kustomizev1.Kustomization) (d demands, err error) {
	if d.expressions, err = compile(k); err != nil {
		return d, loop.Stall(meta.InvalidCELExpressionReason, err)
	}
	if d.ignore, err = ignored(k); err != nil {
		return d, loop.Stall(meta.ReconciliationFailedReason, err)
	}
	if d.wishes, err = wish.Parse(k.Annotations, r.PruneGuard); err != nil {
		return d, loop.Stall(meta.ReconciliationFailedReason, err)
	}
	return d, nil
}

// objects waits until the objects of weir.dev/depends-on are ready, as kstatus
// has it. They are read with the rights of k, and a change of one brings k back.
func (r *Reconciler) objects(ctx context.Context, k *kustomizev1.Kustomization, d demands) error {
	if len(d.wishes.DependsOn) == 0 {
		return nil
	}
	part := apply.Rules{Part: "dependencies"} // k may be waiting for health as well
	var refs []apply.Ref
	for _, o := range d.wishes.DependsOn {
		if r.NoCrossNamespaceRefs && o.Namespace != k.Namespace {
			return loop.Stall(acl.AccessDeniedReason, fmt.Errorf(
				"%sdepends-on: can't depend on %q of namespace %q: references to other namespaces are not allowed on this cluster", wish.Prefix, o.Kind+"/"+o.Name, o.Namespace))
		}
		refs = append(refs, apply.Ref{GroupVersionKind: o.GroupVersionKind, Namespace: o.Namespace, Name: o.Name})
	}
	health, err := r.here(k).HealthBy(ctx, client.ObjectKeyFromObject(k), refs, part)
	if err != nil {
		return loop.Retry(meta.DependencyNotReadyReason, fmt.Errorf("%sdepends-on: %w", wish.Prefix, err))
	}
	if waiting := append(health.Failed, health.Pending...); len(waiting) > 0 {
		return loop.Wait(meta.DependencyNotReadyReason, r.RequeueDependency, fmt.Errorf("dependencies are not ready: %s", list(waiting)))
	}
	return nil
}

// heldCondition is True while a revision is not applied, though it could be.
const heldCondition = "Held"

// Reasons of Held.
const (
	// awaitingApproval: nobody has approved the revision.
	awaitingApproval = "AwaitingApproval"
	// outsideWindow: its time has not come.
	outsideWindow = "OutsideWindow"
	// pruneGuarded: it would delete more than the guard lets pass.
	pruneGuarded = "PruneGuarded"
)

// hold is why a revision is not applied, and for how long at least.
type hold struct {
	reason, message string
	after           time.Duration // 0: until somebody acts
}

// mayApply decides whether a build may be applied now; nil means that it may.
// owned is what there is, stale what the build would delete of it.
func mayApply(w wish.Wishes, revision, applied string, owned, stale []apply.Ref, now time.Time) *hold {
	approved := wish.Approves(w.Approved, revision)
	open, next := w.Windows.Open(now)
	switch {
	case !approved && w.Guard.Stops(len(owned), len(stale)):
		return &hold{reason: pruneGuarded, message: fmt.Sprintf(
			"revision %s would delete %d of %d objects: %s; to let it pass set the annotation %sapprove: %s",
			revision, len(stale), len(owned), names(stale), wish.Prefix, revision)}
	case revision == applied:
		return nil
	case w.Approval && !approved:
		return &hold{reason: awaitingApproval, message: fmt.Sprintf(
			"revision %s waits for approval: set the annotation %sapprove: %s", revision, wish.Prefix, revision)}
	case !open:
		return &hold{reason: outsideWindow, after: next.Sub(now), message: fmt.Sprintf(
			"revision %s waits for its window, which opens at %s", revision, next.Format(time.RFC3339))}
	}
	return nil
}

func names(refs []apply.Ref) string {
	var all []string
	for i, ref := range refs {
		if i == maxListed {
			all = append(all, fmt.Sprintf("and %d more", len(refs)-i))
			break
		}
		all = append(all, ref.String())
	}
	return strings.Join(all, ", ")
}
