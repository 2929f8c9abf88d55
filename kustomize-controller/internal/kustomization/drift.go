package kustomization

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/loop"
)

// driftedCondition is True while objects differ from what was applied and are
// left so, as weir.dev/drift: report asks for.
const driftedCondition = "Drifted"

// driftReported is the reason of Drifted, and of the event about it.
const driftReported = "DriftReported"

// appliedBefore reports whether status says that exactly this build was applied
// with success and nothing has been asked for since.
func appliedBefore(k *kustomizev1.Kustomization, s *source, built *build.Result) bool {
	last := k.Status.History.Latest()
	return last != nil && last.Digest == built.Digest && last.LastReconciledStatus == meta.ReconciliationSucceededReason &&
		k.Status.LastAppliedRevision == s.artifact.Revision && k.Status.ObservedGeneration == k.Generation
}

// reportDrift says which objects differ and were left so, in a condition and, as
// often as that changes, in an event.
func (r *Reconciler) reportDrift(k *kustomizev1.Kustomization, s *source, changes []apply.Change) {
	var found []string
	for _, c := range changes {
		if c.Action == apply.Drifted {
			found = append(found, deviation(c))
		}
	}
	if len(found) == 0 {
		apimeta.RemoveStatusCondition(&k.Status.Conditions, driftedCondition)
		return
	}
	n := len(found)
	if n > maxListed {
		found = append(found[:maxListed], fmt.Sprintf("and %d more", n-maxListed))
	}
	message := loop.Message(fmt.Sprintf("objects differ from revision %s and are left so: %s", s.artifact.Revision, strings.Join(found, "; ")))
	if apimeta.SetStatusCondition(&k.Status.Conditions, metav1.Condition{
		Type: driftedCondition, Status: metav1.ConditionTrue, Reason: driftReported, Message: message, ObservedGeneration: k.Generation,
	}) {
		r.Recorder.Warning(k, driftReported, message, s.metadata())
	}
}

// deviation says how one object differs. Values are not shown: it may be a
// Secret.
func deviation(c apply.Change) string {
	if c.Missing {
		return c.Ref.String() + " was deleted"
	}
	text := c.Ref.String() + " at " + strings.Join(c.Paths, ", ")
	if c.Manager != "" {
		text += fmt.Sprintf(" (changed by field manager %q)", c.Manager)
	}
	return text
}
