package kustomization

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/telemetry"
)

// maxListed is how many unhealthy objects a message names.
const maxListed = 10

// verdict is how far the health of the objects is.
type verdict struct {
	done bool
	// What is said while it is not.
	message string
	left    time.Duration
}

// pending is the outcome while health is waited for.
func (v verdict) pending() loop.Done {
	return loop.Done{Pending: true, Message: v.message, After: v.left}
}

// health looks at the objects that k wants to be healthy. It does not wait:
// while some are not, k is brought back when one of them moves, and at the
// latest when its timeout is over. A wait begins anew with new content.
func (r *Reconciler) health(ctx context.Context, k *kustomizev1.Kustomization, s *source, a *apply.Applier, built *build.Result, d demands, changes []apply.Change) (verdict, error) {
	refs := checked(k, changes)
	m := r.recall(k)
	if len(refs) == 0 {
		apimeta.RemoveStatusCondition(&k.Status.Conditions, meta.HealthyCondition)
		return verdict{done: true}, nil
	}
	telemetry.Enter(ctx, "")
	health, err := a.HealthBy(ctx, client.ObjectKeyFromObject(k), refs, d.health)
	if err != nil {
		return verdict{}, loop.Retry(meta.HealthCheckFailedReason, fmt.Errorf("checking health: %w", err))
	}
	content := built.Digest + fmt.Sprint(k.Generation)
	if r.TellCanceled && !m.waiting.IsZero() && m.waits != content {
		r.canceled(k, s, m)
	}
	if m.waits != content || slices.ContainsFunc(changes, written) {
		m.waits, m.waiting, m.waitsRevision = content, time.Time{}, s.artifact.Revision
	}
	if m.waiting.IsZero() {
		m.waiting = time.Now()
	}
	waited, timeout := time.Since(m.waiting), k.GetTimeout()
	switch {
	case len(health.Failed) > 0 && (!r.PatientHealth || waited >= timeout):
		return verdict{}, r.unhealthy(k, m, fmt.Errorf("health check failed: %s", list(health.Failed)))
	case len(health.Pending)+len(health.Failed) == 0:
		if !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.HealthyCondition) {
			telemetry.Waited(ctx, telemetry.Health, m.waiting)
		}
		m.waiting = time.Time{}
		if !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.HealthyCondition) {
			passed := fmt.Sprintf("Health check passed in %s", waited.Round(time.Millisecond))
			fact(k, metav1.ConditionTrue, meta.SucceededReason, passed)
			r.Recorder.Normal(k, meta.ProgressingReason, passed, s.metadata())
		}
		return verdict{done: true}, nil
	case waited >= timeout:
		return verdict{}, r.unhealthy(k, m, fmt.Errorf("health check failed after %s: timeout waiting for: %s", timeout, list(health.Pending)))
	}
	message := fmt.Sprintf("Running health checks for revision %s with a timeout of %s", s.artifact.Revision, timeout)
	fact(k, metav1.ConditionUnknown, meta.ProgressingReason, message)
	return verdict{message: message, left: timeout - waited}, nil
}

// canceled tells that a wait for health was given up, and for what.
func (r *Reconciler) canceled(k *kustomizev1.Kustomization, s *source, m *memory) {
	by := "Kustomization/" + client.ObjectKeyFromObject(k).String()
	if m.waitsRevision != s.artifact.Revision {
		by = s.String()
	}
	r.Recorder.Normal(k, meta.HealthCheckCanceledReason, "Health checks canceled due to new reconciliation triggered by "+by, s.metadata())
}

// unhealthy ends a wait with a failure. The next attempt waits again; an
// object that moves meanwhile brings k back as well.
func (r *Reconciler) unhealthy(k *kustomizev1.Kustomization, m *memory, err error) error {
	m.waiting = time.Time{}
	fact(k, metav1.ConditionFalse, meta.HealthCheckFailedReason, err.Error())
	return loop.RetryAfter(meta.HealthCheckFailedReason, k.GetRetryInterval(), err)
}

func fact(k *kustomizev1.Kustomization, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&k.Status.Conditions, metav1.Condition{
		Type: meta.HealthyCondition, Status: status, Reason: reason, Message: loop.Message(message), ObservedGeneration: k.Generation,
	})
}

// checked names the objects whose health counts: all applied ones with
// spec.wait, else those of spec.healthChecks. What an annotation keeps from being
// applied does not count, and k does not wait for itself: it may be among what it
// applies.
func checked(k *kustomizev1.Kustomization, changes []apply.Change) (refs []apply.Ref) {
	if k.Spec.Wait {
		for _, c := range changes {
			if c.Action != apply.Deleted && (c.Action != apply.Skipped || c.Fight) {
				refs = append(refs, c.Ref)
			}
		}
	} else {
		for _, c := range k.Spec.HealthChecks {
			ref := apply.Ref{GroupVersionKind: schema.FromAPIVersionAndKind(c.APIVersion, c.Kind), Namespace: c.Namespace, Name: c.Name}
			if ref.Namespace == "" {
				ref.Namespace = k.Namespace
			}
			refs = append(refs, ref)
		}
	}
	return slices.DeleteFunc(refs, func(ref apply.Ref) bool { return itself(k, ref) })
}

// itself reports whether a reference is to k.
func itself(k *kustomizev1.Kustomization, ref apply.Ref) bool {
	return ref.Group == kustomizev1.GroupVersion.Group && ref.Kind == kustomizev1.KustomizationKind &&
		ref.Namespace == k.Namespace && ref.Name == k.Name && k.Spec.KubeConfig == nil
}

func list(verdicts []apply.Verdict) string {
	texts := make([]string, 0, maxListed+1)
	for i, v := range verdicts {
		if i == maxListed {
			texts = append(texts, fmt.Sprintf("and %d more", len(verdicts)-i))
			break
		}
		text := v.Ref.String()
		if v.Message != "" {
			text += ": " + v.Message
		}
		texts = append(texts, text)
	}
	return "[" + strings.Join(texts, "; ") + "]"
}
