package loop

import (
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/internal/secrets"
)

// maxMessage bounds a condition's message, in bytes. The schema allows 32768;
// the wire has 20000.
const maxMessage = 20000

// report writes what became of one attempt into status. It is the only code
// that sets Ready, Reconciling, Stalled, observedGeneration and
// lastHandledReconcileAt.
func report(obj Object, done Done, f *Failure) {
	conditions := obj.GetConditions()
	for i := range conditions { // one message that is too long has the whole status refused
		conditions[i].Message = Message(conditions[i].Message)
	}
	ready := metav1.Condition{
		Type: meta.ReadyCondition, Status: metav1.ConditionTrue,
		Reason: orDefault(done.Reason, meta.SucceededReason), Message: done.Message,
	}
	var reconciling, stalled *metav1.Condition
	switch {
	case f != nil:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, f.Reason, f.Error()
		if f.Final {
			stalled = condition(meta.StalledCondition, f.Reason, ready.Message)
		} else {
			reconciling = condition(meta.ReconcilingCondition, meta.ProgressingWithRetryReason, ready.Message)
		}
	case done.Pending:
		ready.Status, ready.Reason = metav1.ConditionUnknown, orDefault(done.Reason, meta.ProgressingReason)
		reconciling = condition(meta.ReconcilingCondition, ready.Reason, ready.Message)
	}
	set(&conditions, obj.GetGeneration(), &ready)
	place(&conditions, obj.GetGeneration(), meta.ReconcilingCondition, reconciling)
	place(&conditions, obj.GetGeneration(), meta.StalledCondition, stalled)
	obj.SetConditions(conditions)
	if stalled != nil || ready.Status == metav1.ConditionTrue {
		obj.SetObservedGeneration(obj.GetGeneration())
	}
	if at, ok := meta.ReconcileAnnotationValue(obj.GetAnnotations()); ok {
		obj.SetLastHandledReconcileAt(at)
	}
}

func condition(kind, reason, message string) *metav1.Condition {
	return &metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// place sets a condition that is only there while it is true.
func place(all *[]metav1.Condition, generation int64, kind string, c *metav1.Condition) {
	if c == nil {
		apimeta.RemoveStatusCondition(all, kind)
		return
	}
	set(all, generation, c)
}

func set(all *[]metav1.Condition, generation int64, c *metav1.Condition) {
	c.ObservedGeneration = generation
	c.Message = Message(c.Message)
	apimeta.SetStatusCondition(all, *c)
}

// Message returns text as a condition shows it: without secrets, and cut where
// it is longer than the wire allows. A Worker that asks whether a condition of
// its own has changed has to compare this.
func Message(text string) string {
	text = secrets.Redact(text)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage-3], "") + "..."
	}
	return text
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
