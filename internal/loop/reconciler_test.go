package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// worker does what a test says.
type worker struct {
	reconcile func(context.Context, *kustomizev1.Kustomization) (Done, error)
	finalize  func(context.Context, *kustomizev1.Kustomization) error
	runs      int
}

func (w *worker) Reconcile(ctx context.Context, k *kustomizev1.Kustomization) (Done, error) {
	w.runs++
	return w.reconcile(ctx, k)
}

func (w *worker) Finalize(ctx context.Context, k *kustomizev1.Kustomization) error {
	return w.finalize(ctx, k)
}

// rig is one object, a Reconciler for it and the events it records.
type rig struct {
	t      *testing.T
	c      client.Client
	key    client.ObjectKey
	r      *Reconciler[*kustomizev1.Kustomization]
	w      *worker
	events *record.FakeRecorder
}

func newRig(t *testing.T, change func(*kustomizev1.Kustomization)) *rig {
	t.Helper()
	c := testenv.Client(t, kustomizev1.AddToScheme)
	k := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: testenv.Namespace(t)},
		Spec: kustomizev1.KustomizationSpec{
			Interval: duration.New(10 * time.Minute), Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
		},
	}
	if change != nil {
		change(k)
	}
	if err := c.Create(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	w := &worker{
		reconcile: func(context.Context, *kustomizev1.Kustomization) (Done, error) {
			return Done{Message: "all is well"}, nil
		},
		finalize: func(context.Context, *kustomizev1.Kustomization) error { return nil },
	}
	recorder := record.NewFakeRecorder(100)
	return &rig{t: t, c: c, key: client.ObjectKeyFromObject(k), w: w, events: recorder,
		r: &Reconciler[*kustomizev1.Kustomization]{
			client: c, live: c, worker: w, owner: "test-controller",
			recorder: events.New(events.Options{Controller: "test-controller", Scheme: c.Scheme(), Kubernetes: recorder}),
		}}
}

func (g *rig) reconcile() (ctrl.Result, error) {
	return g.r.Reconcile(g.t.Context(), ctrl.Request{NamespacedName: g.key})
}

func (g *rig) get() *kustomizev1.Kustomization {
	g.t.Helper()
	k := &kustomizev1.Kustomization{}
	if err := g.c.Get(g.t.Context(), g.key, k); err != nil {
		g.t.Fatal(err)
	}
	return k
}

func (g *rig) told() []string {
	var out []string
	for {
		select {
		case e := <-g.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func TestOutcomes(t *testing.T) {
	type want struct {
		ready, reason          string
		reconciling, stalled   bool
		observed               bool
		after                  time.Duration
		retries, final         bool
		eventType, eventReason string
	}
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		done Done
		err  error
		want want
	}{
		"done":                 {done: Done{Message: "m"}, want: want{ready: "True", reason: "Succeeded", observed: true, after: 10 * time.Minute, eventType: "Normal", eventReason: "Succeeded"}},
		"done with own reason": {done: Done{Reason: "R", EventReason: "E", Message: "m", After: time.Minute}, want: want{ready: "True", reason: "R", observed: true, after: time.Minute, eventType: "Normal", eventReason: "E"}},
		"pending":              {done: Done{Pending: true, Message: "m", After: time.Second}, want: want{ready: "Unknown", reason: "Progressing", reconciling: true, after: time.Second}},
		"retry":                {err: Retry("R", boom), want: want{ready: "False", reason: "R", reconciling: true, retries: true, eventType: "Warning", eventReason: "R"}},
		"retry after":          {err: RetryAfter("R", time.Minute, boom), want: want{ready: "False", reason: "R", reconciling: true, after: time.Minute, eventType: "Warning", eventReason: "R"}},
		"wait":                 {err: Wait("R", time.Minute, boom), want: want{ready: "False", reason: "R", reconciling: true, after: time.Minute, eventType: "Normal", eventReason: "R"}},
		"stall":                {err: Stall("R", boom), want: want{ready: "False", reason: "R", stalled: true, observed: true, final: true, eventType: "Warning", eventReason: "R"}},
		"unclassified":         {err: boom, want: want{ready: "False", reason: "Failed", reconciling: true, retries: true, eventType: "Warning", eventReason: "Failed"}},
		"wrapped":              {err: fmt.Errorf("while working: %w", Stall("R", boom)), want: want{ready: "False", reason: "R", stalled: true, observed: true, final: true, eventType: "Warning", eventReason: "R"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			g.w.reconcile = func(context.Context, *kustomizev1.Kustomization) (Done, error) { return tt.done, tt.err }
			result, err := g.reconcile()
			k := g.get()
			ready := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition)
			got := want{
				ready: string(ready.Status), reason: ready.Reason,
				reconciling: apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReconcilingCondition),
				stalled:     apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.StalledCondition),
				observed:    k.Status.ObservedGeneration == k.Generation,
				after:       result.RequeueAfter,
				final:       errors.Is(err, reconcile.TerminalError(nil)),
			}
			got.retries = err != nil && !got.final
			if told := g.told(); len(told) > 1 {
				t.Errorf("more than one event: %q", told)
			} else if len(told) == 1 {
				got.eventType, got.eventReason, _ = strings.Cut(told[0], " ")
				got.eventReason, _, _ = strings.Cut(got.eventReason, " ")
			}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if tt.err != nil && ready.Message != tt.err.Error() {
				t.Errorf("Ready says %q, want the whole error %q", ready.Message, tt.err)
			}
		})
	}
}

func TestNothingHappensTwice(t *testing.T) {
	g := newRig(t, nil)
	for range 2 { // the finalizer and the status are written by then
		if _, err := g.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	g.told()
	before, requests := g.get().ResourceVersion, testenv.Requests(t)
	for range 5 {
		if _, err := g.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testenv.Requests(t) - requests; n != 5 {
		t.Errorf("5 reconciliations with nothing to do cost %d requests, want the 5 reads of this test's uncached client", n)
	}
	if after := g.get().ResourceVersion; after != before {
		t.Errorf("resource version moved from %s to %s", before, after)
	}
	if told := g.told(); len(told) > 0 {
		t.Errorf("events without a change: %q", told)
	}
}

func TestLaterWritesNothing(t *testing.T) {
	g := newRig(t, nil)
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	before := g.get().ResourceVersion
	g.w.reconcile = func(context.Context, *kustomizev1.Kustomization) (Done, error) { return Done{}, ErrLater }
	result, err := g.reconcile()
	if err != nil || result.RequeueAfter == 0 || result.Priority == nil || *result.Priority >= 0 {
		t.Errorf("result = %+v, %v, want to come back with a low priority", result, err)
	}
	if after := g.get().ResourceVersion; after != before {
		t.Error("something was written")
	}
}

func TestRequestIsHandled(t *testing.T) {
	g := newRig(t, func(k *kustomizev1.Kustomization) {
		k.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
	})
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := g.get().GetLastHandledReconcileAt(); got != "now" {
		t.Errorf("lastHandledReconcileAt = %q, want %q", got, "now")
	}
}

func TestSuspendedIsLeftAlone(t *testing.T) {
	g := newRig(t, func(k *kustomizev1.Kustomization) { k.Spec.Suspend = true })
	before := g.get()
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	if after := g.get(); g.w.runs != 0 || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("a suspended object was worked on (%d runs, version %s, was %s)", g.w.runs, after.ResourceVersion, before.ResourceVersion)
	}
}

// keeper is a worker that looks after suspended objects.
type keeper struct {
	worker
	keep func() (*Done, error)
}

func (k *keeper) Keep(context.Context, *kustomizev1.Kustomization) (*Done, error) { return k.keep() }

// TestSuspendedTellsTheTruth asserts that a Keeper is heard, once for each thing that
// it has to say.
func TestSuspendedTellsTheTruth(t *testing.T) {
	g := newRig(t, func(k *kustomizev1.Kustomization) { k.Spec.Suspend = true })
	var done *Done
	var failed error
	g.r.worker = &keeper{keep: func() (*Done, error) { return done, failed }}
	for _, step := range []struct {
		done   *Done
		err    error
		status metav1.ConditionStatus // "" for no condition
		told   int
	}{
		{nil, nil, "", 0},
		{nil, Stall("Lost", errors.New("it is lost")), metav1.ConditionFalse, 1},
		{nil, Stall("Lost", errors.New("it is lost")), metav1.ConditionFalse, 0},
		{&Done{Message: "it is back"}, nil, metav1.ConditionTrue, 1},
		{nil, nil, metav1.ConditionTrue, 0},
	} {
		done, failed = step.done, step.err
		before := g.get()
		if result, err := g.reconcile(); err != nil || result != (ctrl.Result{}) {
			t.Fatalf("got %+v, %v", result, err)
		}
		after := g.get()
		c := apimeta.FindStatusCondition(after.Status.Conditions, meta.ReadyCondition)
		if step.status == "" && c != nil || step.status != "" && (c == nil || c.Status != step.status) {
			t.Errorf("after %+v Ready is %+v", step, c)
		}
		if stalled := apimeta.IsStatusConditionTrue(after.Status.Conditions, meta.StalledCondition); stalled != (step.status == metav1.ConditionFalse) {
			t.Errorf("after %+v Stalled is %t", step, stalled)
		}
		if told := g.told(); len(told) != step.told {
			t.Errorf("after %+v the events are %q", step, told)
		}
		if step.told == 0 && after.ResourceVersion != before.ResourceVersion {
			t.Errorf("%+v was written twice", step)
		}
	}
	if len(g.get().Finalizers) > 0 {
		t.Error("a suspended object was claimed")
	}
}

func TestUnusableDurationStalls(t *testing.T) {
	g := newRig(t, nil)
	k := g.get()
	// The schema's pattern lets it through, and time.ParseDuration does not.
	patch := []byte(`{"spec":{"timeout":"99999999999h"}}`)
	if err := g.c.Patch(t.Context(), k, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.reconcile(); !errors.Is(err, reconcile.TerminalError(nil)) {
		t.Errorf("error = %v, want a terminal one", err)
	}
	ready := apimeta.FindStatusCondition(g.get().Status.Conditions, meta.ReadyCondition)
	if ready.Reason != "InvalidSpec" || !strings.Contains(ready.Message, "spec.timeout") || g.w.runs != 0 {
		t.Errorf("Ready = %+v after %d runs, want InvalidSpec naming spec.timeout, and no run", ready, g.w.runs)
	}
}

func TestPanicIsAFailure(t *testing.T) {
	g := newRig(t, nil)
	g.w.reconcile = func(context.Context, *kustomizev1.Kustomization) (Done, error) { panic("out of range") }
	if _, err := g.reconcile(); err == nil {
		t.Error("no error after a panic")
	}
	ready := apimeta.FindStatusCondition(g.get().Status.Conditions, meta.ReadyCondition)
	if ready.Status != "False" || !strings.Contains(ready.Message, "out of range") {
		t.Errorf("Ready = %+v, want False with the panic's text", ready)
	}
	g.w.reconcile = func(context.Context, *kustomizev1.Kustomization) (Done, error) { return Done{Message: "good"}, nil }
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	if !apimeta.IsStatusConditionTrue(g.get().Status.Conditions, meta.ReadyCondition) {
		t.Error("the next good run did not make it ready")
	}
}

func TestSecretsStayOut(t *testing.T) {
	const planted = "pl4nted-v4lue"
	secrets.Register(planted)
	g := newRig(t, nil)
	g.w.reconcile = func(context.Context, *kustomizev1.Kustomization) (Done, error) {
		return Done{}, fmt.Errorf("login at https://me:%s@example.com/x?token=%s failed", planted, planted)
	}
	_, err := g.reconcile()
	text := fmt.Sprint(err, g.get().Status.Conditions, g.told())
	if strings.Contains(text, planted) || !strings.Contains(text, "example.com") {
		t.Errorf("want the host and not the secret in: %s", text)
	}
}

// A message of a Worker's own that is too long for the API server, or has a
// secret in it, keeps neither itself nor the rest of the status from being written.
func TestLongMessages(t *testing.T) {
	const planted = "pl4nted-in-a-fact"
	secrets.Register(planted)
	g := newRig(t, nil)
	g.w.reconcile = func(_ context.Context, k *kustomizev1.Kustomization) (Done, error) {
		apimeta.SetStatusCondition(&k.Status.Conditions, metav1.Condition{Type: meta.HealthyCondition, Status: metav1.ConditionFalse,
			Reason: meta.HealthCheckFailedReason, Message: planted + strings.Repeat("ä", 40_000)})
		return Done{}, errors.New("unhealthy")
	}
	_, _ = g.reconcile()
	healthy := apimeta.FindStatusCondition(g.get().Status.Conditions, meta.HealthyCondition)
	if healthy == nil || len(healthy.Message) > maxMessage || strings.Contains(healthy.Message, planted) || !strings.HasSuffix(healthy.Message, "ä...") {
		t.Errorf("Healthy = %.100v", healthy)
	}
	if ready := apimeta.FindStatusCondition(g.get().Status.Conditions, meta.ReadyCondition); ready.Message != "unhealthy" {
		t.Errorf("Ready = %+v", ready)
	}
}

func TestFinalizer(t *testing.T) {
	g := newRig(t, nil)
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	if err := g.c.Delete(t.Context(), g.get()); err != nil {
		t.Fatal(err)
	}
	g.w.finalize = func(context.Context, *kustomizev1.Kustomization) error { return errors.New("cannot reach it") }
	if _, err := g.reconcile(); err == nil {
		t.Error("no error although the clean-up failed")
	}
	ready := apimeta.FindStatusCondition(g.get().Status.Conditions, meta.ReadyCondition)
	if ready.Status != "False" || ready.Message != "cannot reach it" {
		t.Errorf("Ready = %+v, want it to say why the object does not go away", ready)
	}
	g.w.finalize = func(context.Context, *kustomizev1.Kustomization) error { return nil }
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	if err := g.c.Get(t.Context(), g.key, &kustomizev1.Kustomization{}); !apierrors.IsNotFound(err) {
		t.Errorf("the object is still there: %v", err)
	}
}

// A cache that lags behind must not make a decision on what this process has
// already replaced.
func TestReadsItsOwnWrites(t *testing.T) {
	g := newRig(t, nil)
	stale := g.get()
	g.w.reconcile = func(ctx context.Context, k *kustomizev1.Kustomization) (Done, error) {
		k.Status.LastAppliedRevision = "first"
		return Done{Message: "m"}, nil
	}
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	g.r.client = lagging{Client: g.c, stale: stale}
	var seen string
	g.w.reconcile = func(ctx context.Context, k *kustomizev1.Kustomization) (Done, error) {
		seen = k.Status.LastAppliedRevision
		return Done{Message: "m"}, nil
	}
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	if seen != "first" {
		t.Errorf("the worker saw revision %q, want the one written before", seen)
	}
}

type lagging struct {
	client.Client
	stale *kustomizev1.Kustomization
}

func (l lagging) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	l.stale.DeepCopyInto(into.(*kustomizev1.Kustomization))
	return nil
}

func TestSaveAndProgress(t *testing.T) {
	g := newRig(t, nil)
	shown := make(chan struct{})
	g.w.reconcile = func(ctx context.Context, k *kustomizev1.Kustomization) (Done, error) {
		k.Status.LastAttemptedRevision = "v1"
		if err := Save(ctx, k); err != nil {
			return Done{}, err
		}
		if got := g.get().Status.LastAttemptedRevision; got != "v1" {
			t.Errorf("after Save the status has %q, want v1", got)
		}
		Progress(ctx, "turning the crank")
		for {
			ready := apimeta.FindStatusCondition(g.get().Status.Conditions, meta.ReadyCondition)
			if ready != nil && ready.Status == "Unknown" && ready.Message == "turning the crank" {
				close(shown)
				return Done{Message: "m"}, nil
			}
			select {
			case <-t.Context().Done():
				return Done{}, t.Context().Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	if _, err := g.reconcile(); err != nil {
		t.Fatal(err)
	}
	<-shown
	k := g.get()
	if !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) || k.Status.LastAttemptedRevision != "v1" ||
		apimeta.FindStatusCondition(k.Status.Conditions, meta.ReconcilingCondition) != nil {
		t.Errorf("final status is %+v", k.Status)
	}
}
