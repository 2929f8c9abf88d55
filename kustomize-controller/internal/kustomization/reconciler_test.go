package kustomization

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
)

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: example.com/web:1}]
`

func (g *rig) value(name string) string {
	g.Helper()
	cm := &corev1.ConfigMap{}
	err := g.Get(g.Context(), g.key(name), cm)
	if apierrors.IsNotFound(err) {
		return "(none)"
	}
	if err != nil {
		g.Fatal(err)
	}
	return cm.Data["value"]
}

func TestInstallChangePrune(t *testing.T) {
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1"), "other/c.yaml": configMap("c", "1")})
	g.kustomization("app", nil)
	k, result := g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason); message != "Applied revision: v1" {
		t.Errorf("Ready says %q", message)
	}
	want := &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{
		{ID: g.ns + "_a__ConfigMap", Version: "v1"}, {ID: g.ns + "_b__ConfigMap", Version: "v1"},
	}}
	if diff := cmp.Diff(want, k.Status.Inventory); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
	if k.Status.LastAppliedRevision != "v1" || k.Status.LastAttemptedRevision != "v1" || k.Status.ObservedGeneration != k.Generation {
		t.Errorf("status = %+v", k.Status)
	}
	if len(k.Status.History) != 1 || k.Status.History[0].LastReconciledStatus != meta.ReconciliationSucceededReason {
		t.Errorf("history = %+v", k.Status.History)
	}
	if result.RequeueAfter == 0 {
		t.Error("it does not come back at the interval")
	}
	told := strings.Join(g.told(), "\n")
	if !strings.Contains(told, "ConfigMap/"+g.ns+"/a created") || !strings.Contains(told, "Reconciliation finished in") {
		t.Errorf("events are\n%s", told)
	}

	g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "2")})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if g.value("a") != "2" || g.value("b") != "(none)" || len(k.Status.Inventory.Entries) != 1 {
		t.Errorf("a = %s, b = %s, inventory %+v", g.value("a"), g.value("b"), k.Status.Inventory.Entries)
	}
}

// What costs what, in requests. The client of these tests has no cache, so
// reading the object and its source costs two in each run.
func TestCostsOfDoingNothing(t *testing.T) {
	g := newRig(t)
	files := map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1"), "other/c.yaml": configMap("c", "1")}
	g.publish("v1", files)
	g.kustomization("app", nil)
	g.reconcile("app")
	const reads, look = 2, 1 // look is this test's own read after each run
	before := testenv.Requests(t)
	for range 3 {
		g.reconcile("app")
	}
	if got := testenv.Requests(t) - before; got != 3*(reads+look) {
		t.Errorf("three runs with nothing to do cost %d requests, want %d reads", got, 3*(reads+look))
	}
	files["other/c.yaml"] = configMap("c", "2")
	g.publish("v2", files)
	before = testenv.Requests(t)
	if _, result := g.reconcile("app"); result.Priority == nil || *result.Priority >= 0 {
		t.Errorf("it does not let those past whose objects changed: %+v", result)
	}
	k, _ := g.reconcile("app")
	if got := testenv.Requests(t) - before; got != 2*(reads+look)+1 {
		t.Errorf("a revision that changes nothing of this object cost %d requests, want the reads and one status write", got)
	}
	if k.Status.LastAppliedRevision != "v2" {
		t.Errorf("lastAppliedRevision = %q, want v2", k.Status.LastAppliedRevision)
	}
	files["app/a.yaml"] = configMap("a", "2")
	g.publish("v3", files)
	before = testenv.Requests(t)
	g.reconcile("app")
	if got := testenv.Requests(t) - before; got != reads+look+1+1 {
		t.Errorf("a revision that changes one object cost %d requests, want the reads, an apply and one status write", got)
	}
}

func TestDriftComesBackByItself(t *testing.T) {
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", nil)
	g.reconcile("app")
	g.told()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: g.ns}}
	if err := g.Patch(t.Context(), cm, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"value":"edited"}}`)), client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	g.awaitBell("app")
	before, _ := g.reconcile("app")
	if g.value("a") != "1" {
		t.Errorf("a = %s after the correction", g.value("a"))
	}
	if told := strings.Join(g.told(), "\n"); !strings.Contains(told, "DriftCorrected") || !strings.Contains(told, "kubectl-edit") {
		t.Errorf("events are\n%s", told)
	}
	if after, _ := g.reconcile("app"); after.ResourceVersion != before.ResourceVersion {
		t.Error("a correction is followed by a status write")
	}
}

func TestWaitsForHealthWithoutAWorker(t *testing.T) {
	g := newRig(t)
	stalled := strings.Replace(deployment, "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {weir.dev/simulate: stall}}", 1)
	g.publish("v1", map[string]string{"app/web.yaml": stalled})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Wait = true })
	start := time.Now()
	k, result := g.reconcile("app")
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
	if took := time.Since(start); took > 20*time.Second || result.RequeueAfter == 0 {
		t.Errorf("the run took %s and comes back after %s", took, result.RequeueAfter)
	}
	if c := apimeta.FindStatusCondition(k.Status.Conditions, meta.HealthyCondition); c == nil || c.Status != metav1.ConditionUnknown {
		t.Errorf("Healthy = %+v", c)
	}
	// A new revision takes over at once, and its pods come up.
	g.publish("v2", map[string]string{"app/web.yaml": deployment})
	for deadline := time.Now().Add(patience); ; {
		k, _ = g.reconcile("app")
		if apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %+v", k.Status.Conditions)
		}
		g.awaitBell("app")
	}
	if !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.HealthyCondition) || k.Status.LastAppliedRevision != "v2" {
		t.Errorf("status = %+v", k.Status)
	}
	d := &appsv1.Deployment{}
	if err := g.Get(t.Context(), g.key("web"), d); err != nil || d.Status.ReadyReplicas != 1 {
		t.Errorf("%d ready replicas (%v) when Healthy", d.Status.ReadyReplicas, err)
	}
}

// What was healthy before a release says nothing about the release.
func TestHealthIsOfTheNewRevision(t *testing.T) {
	g := newRig(t)
	g.publish("v0", map[string]string{"app/web.yaml": deployment})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Wait = true })
	for i := range 5 {
		for deadline := time.Now().Add(patience); ; {
			k, _ := g.reconcile("app")
			if apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("not ready: %+v", k.Status.Conditions)
			}
			g.awaitBell("app")
		}
		revision := fmt.Sprintf("v%d", i+1)
		g.publish(revision, map[string]string{"app/web.yaml": strings.ReplaceAll(deployment, "example.com/web:1", "example.com/web:"+revision)})
		k, _ := g.reconcile("app")
		g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
	}
}

func TestHealthTimesOut(t *testing.T) {
	g := newRig(t)
	stalled := strings.Replace(deployment, "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {weir.dev/simulate: stall}}", 1)
	g.publish("v1", map[string]string{"app/web.yaml": stalled})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Wait = true })
	k, _ := g.reconcile("app")
	g.worker.recall(k).waiting = time.Now().Add(-time.Hour) // a clock that has run
	k, result := g.reconcile("app")
	message := g.wantReady(k, metav1.ConditionFalse, meta.HealthCheckFailedReason)
	if !strings.Contains(message, "Deployment/"+g.ns+"/web") || !strings.Contains(message, "timeout") || result.RequeueAfter != k.GetRetryInterval() {
		t.Errorf("Ready says %q, retried after %s", message, result.RequeueAfter)
	}
	if len(k.Status.Inventory.Entries) != 1 {
		t.Errorf("inventory = %+v", k.Status.Inventory)
	}
}

// An object that is to be made anew and does not go is waited for without a worker,
// and is a failure after the timeout.
func TestForceWaitsForTheOldObject(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	secret := func(value string) map[string]string {
		return map[string]string{"app/s.yaml": "{apiVersion: v1, kind: Secret, metadata: {name: s, finalizers: [example.com/hold]}, immutable: true, stringData: {a: " + value + "}}"}
	}
	g.publish("v1", secret("one"))
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Force = true })
	g.reconcile("app")
	g.publish("v2", secret("two"))
	k, result := g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.ProgressingReason); !strings.Contains(message, "example.com/hold") || result.RequeueAfter != lookForGone {
		t.Errorf("Ready says %q, again after %s", message, result.RequeueAfter)
	}
	g.worker.recall(k).anew = time.Now().Add(-2 * k.GetTimeout())
	k, result = g.reconcile("app")
	if g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason); result.RequeueAfter != k.GetRetryInterval() {
		t.Errorf("again after %s", result.RequeueAfter)
	}
	old := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "s"}}
	if err := g.Patch(t.Context(), old, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
	g.awaitBell("app")
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if err := g.Patch(t.Context(), old, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
}

// The time in which something else was in the way is not counted as one of
// waiting for health.
func TestHealthWaitStartsOver(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	files := map[string]string{"app/web.yaml": strings.Replace(deployment, "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {weir.dev/simulate: stall}}", 1)}
	g.publish("v1", files)
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Wait = true })
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
	g.worker.recall(k).waiting = time.Now().Add(-time.Hour)
	if err := g.Delete(t.Context(), &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "source"}}); err != nil {
		t.Fatal(err)
	}
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.ArtifactFailedReason)
	g.publish("v1", files)
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
}

func TestFailuresAreExplained(t *testing.T) {
	for name, tt := range map[string]struct {
		files  map[string]string
		change func(*kustomizev1.KustomizationSpec)
		reason string
		says   []string
	}{
		"no source":    {change: func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Name = "gone" }, reason: meta.ArtifactFailedReason, says: []string{"gone", "not found"}},
		"no such path": {change: func(s *kustomizev1.KustomizationSpec) { s.Path = "./nowhere" }, reason: meta.ArtifactFailedReason, says: []string{"nowhere", "app"}},
		"broken yaml":  {files: map[string]string{"app/a.yaml": "a: b: c"}, reason: meta.BuildFailedReason, says: []string{"app/a.yaml"}},
		"missing variable": {files: map[string]string{"app/a.yaml": configMap("a", "${nope}")}, change: func(s *kustomizev1.KustomizationSpec) {
			s.PostBuild = &kustomizev1.PostBuild{Substitute: map[string]string{"x": "y"}}
		}, reason: meta.BuildFailedReason, says: []string{"nope"}},
		"missing values": {change: func(s *kustomizev1.KustomizationSpec) {
			s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}}}
		}, reason: meta.BuildFailedReason, says: []string{"spec.postBuild.substituteFrom[0]", "vars"}},
		"unknown kind":          {files: map[string]string{"app/a.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"}, reason: meta.ReconciliationFailedReason, says: []string{"Widget"}},
		"refused":               {files: map[string]string{"app/a.yaml": configMap("Not_a_name", "1")}, reason: meta.ReconciliationFailedReason, says: []string{"Not_a_name"}},
		"account without right": {change: func(s *kustomizev1.KustomizationSpec) { s.ServiceAccountName = "default" }, reason: meta.ReconciliationFailedReason, says: []string{"forbidden", "default"}},
		"account, no gate": {change: func(s *kustomizev1.KustomizationSpec) {
			s.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "x"}
		}, reason: meta.FeatureGateDisabledReason, says: []string{"spec.decryption.serviceAccountName", "ObjectLevelWorkloadIdentity"}},
		"no key": {change: func(s *kustomizev1.KustomizationSpec) {
			s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
		}, reason: meta.BuildFailedReason, says: []string{"spec.decryption.secretRef", "keys"}},
		"encrypted": {files: map[string]string{"app/a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nsops: {mac: x}\n"}, reason: meta.BuildFailedReason, says: []string{"Secret", "spec.decryption"}},
		"unmet dependency": {change: func(s *kustomizev1.KustomizationSpec) {
			s.DependsOn = []kustomizev1.DependencyReference{{Name: "first"}}
		}, reason: meta.DependencyNotReadyReason, says: []string{"first"}},
		"bad patch": {change: func(s *kustomizev1.KustomizationSpec) { s.Patches = []kustomize.Patch{{Patch: "[{"}} }, reason: meta.BuildFailedReason, says: []string{"patch"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.publish("v1", map[string]string{"app/good.yaml": configMap("good", "1")})
			g.kustomization("app", nil)
			k, _ := g.reconcile("app")
			g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
			if tt.files != nil {
				g.publish("v2", tt.files)
			}
			if tt.change != nil {
				g.edit("app", func(k *kustomizev1.Kustomization) { tt.change(&k.Spec) })
			}
			k, _ = g.reconcile("app")
			message := g.wantReady(k, metav1.ConditionFalse, tt.reason)
			for _, part := range tt.says {
				if !strings.Contains(message, part) {
					t.Errorf("Ready does not say %q: %s", part, message)
				}
			}
			if g.value("good") != "1" || len(k.Status.Inventory.Entries) == 0 {
				t.Errorf("what was applied before is gone: good = %s, inventory %+v", g.value("good"), k.Status.Inventory)
			}
		})
	}
}

func TestOtherNamespacesCanBeForbidden(t *testing.T) {
	g := newRig(t)
	g.o.NoCrossNamespaceRefs = true
	g.restart()
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Namespace = "kube-system" })
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, acl.AccessDeniedReason)
	if !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.StalledCondition) {
		t.Error("not stalled")
	}
}

// The inventory has an object before it is applied: what a failing stage left
// on the cluster is on record.
func TestNothingIsUntracked(t *testing.T) {
	g := newRig(t)
	g.publish("v1", map[string]string{
		"app/ns.yaml":  "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: " + g.ns + ":first\nrules: []\n",
		"app/bad.yaml": configMap("Not_a_name", "1"),
	})
	g.kustomization("app", nil)
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
	if id := "_" + g.ns + "__first_rbac.authorization.k8s.io_ClusterRole"; k.Status.Inventory == nil || k.Status.Inventory.Entries[0].ID != id {
		t.Fatalf("inventory = %+v, want %s in it, which was applied before the failure", k.Status.Inventory, id)
	}
	g.publish("v2", map[string]string{"app/good.yaml": configMap("good", "1")})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if len(k.Status.Inventory.Entries) != 1 {
		t.Errorf("inventory = %+v, want the good object alone", k.Status.Inventory.Entries)
	}
}

func TestVariablesFromSecretsAndConfigMaps(t *testing.T) {
	g := newRig(t)
	for _, obj := range []client.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars", Namespace: g.ns}, Data: map[string]string{"one": "config", "two": "config", "three": "config"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "vars", Namespace: g.ns}, StringData: map[string]string{"two": "of-the-secret", "three": "of-the-secret"}},
	} {
		if err := g.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "${one}-${two}-${three}")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.PostBuild = &kustomizev1.PostBuild{
			Substitute: map[string]string{"three": "own"},
			SubstituteFrom: []kustomizev1.SubstituteReference{
				{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "vars"}, {Kind: "Secret", Name: "gone", Optional: true},
			},
		}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if got := g.value("a"); got != "config-of-the-secret-own" {
		t.Errorf("a = %q", got)
	}
}

func TestDeletion(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*kustomizev1.KustomizationSpec)
		keeps  bool
	}{
		"mirror prune":         {},
		"mirror no prune":      {func(s *kustomizev1.KustomizationSpec) { s.Prune = false }, true},
		"delete":               {func(s *kustomizev1.KustomizationSpec) { s.Prune, s.DeletionPolicy = false, "Delete" }, false},
		"wait":                 {func(s *kustomizev1.KustomizationSpec) { s.DeletionPolicy = "WaitForTermination" }, false},
		"orphan":               {func(s *kustomizev1.KustomizationSpec) { s.DeletionPolicy = "Orphan" }, true},
		"suspended":            {func(s *kustomizev1.KustomizationSpec) { s.Suspend = true }, true},
		"service account gone": {func(s *kustomizev1.KustomizationSpec) { s.ServiceAccountName = "gone" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
			g.kustomization("app", nil)
			g.reconcile("app")
			if tt.change != nil {
				g.edit("app", func(k *kustomizev1.Kustomization) { tt.change(&k.Spec) })
			}
			k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: g.ns}}
			if err := g.Delete(t.Context(), k); err != nil {
				t.Fatal(err)
			}
			g.reconcile("app")
			if err := g.Get(t.Context(), g.key("app"), k); !apierrors.IsNotFound(err) {
				t.Fatalf("the object is still there: %v, %+v", err, k.Status.Conditions)
			}
			if kept := g.value("a") == "1"; kept != tt.keeps {
				t.Errorf("kept = %v, want %v", kept, tt.keeps)
			}
		})
	}
}

func TestUnready(t *testing.T) {
	object := func(change func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
		k := &kustomizev1.Kustomization{
			ObjectMeta: metav1.ObjectMeta{Name: "dep", Namespace: "ns", Generation: 2},
			Spec:       kustomizev1.KustomizationSpec{SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "source"}},
			Status: kustomizev1.KustomizationStatus{
				ObservedGeneration: 2, LastAppliedRevision: "v2",
				Conditions: []metav1.Condition{{Type: "Ready", Status: "True"}},
			},
		}
		if change != nil {
			change(k)
		}
		return k
	}
	for name, tt := range map[string]struct {
		change func(*kustomizev1.Kustomization)
		says   string
	}{
		"ready":            {},
		"older spec":       {func(k *kustomizev1.Kustomization) { k.Generation = 3 }, "latest spec"},
		"not ready":        {func(k *kustomizev1.Kustomization) { k.Status.Conditions[0].Status = "False" }, "not ready"},
		"never reconciled": {func(k *kustomizev1.Kustomization) { k.Status.Conditions = nil }, "not ready"},
		"older revision":   {func(k *kustomizev1.Kustomization) { k.Status.LastAppliedRevision = "v1" }, "revision v2"},
		"older, of another source": {func(k *kustomizev1.Kustomization) {
			k.Status.LastAppliedRevision, k.Spec.SourceRef.Name = "v1", "other"
		}, ""},
		"source elsewhere": {func(k *kustomizev1.Kustomization) {
			k.Status.LastAppliedRevision, k.Spec.SourceRef.Namespace = "v1", "other"
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := unready(object(nil), object(tt.change), "v2")
			if (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
				t.Errorf("unready says %q, want %q", got, tt.says)
			}
		})
	}
}

func TestTimeoutBoundsAReconciliation(t *testing.T) {
	k := &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{Interval: duration.New(time.Minute)}}
	if got := k.GetTimeout(); got != 30*time.Second {
		t.Errorf("timeout at interval 1m = %s, want 30s", got)
	}
}
