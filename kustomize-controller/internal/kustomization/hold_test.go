package kustomization

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/kustomize-controller/internal/wish"
)

func (g *rig) annotate(name, key, value string) {
	g.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.ns}}
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if err := g.Patch(g.Context(), k, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		g.Fatal(err)
	}
}

func (g *rig) wantHeld(k *kustomizev1.Kustomization, reason string) string {
	g.Helper()
	c := apimeta.FindStatusCondition(k.Status.Conditions, heldCondition)
	if c == nil && reason != "" || c != nil && c.Reason != reason {
		g.Fatalf("Held = %+v, want %q", c, reason)
	}
	if c == nil {
		return ""
	}
	return c.Message
}

func TestMayApply(t *testing.T) {
	t.Parallel()
	refs := make([]apply.Ref, 4)
	for i := range refs {
		refs[i] = apply.Ref{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Namespace: "ns", Name: string(rune('a' + i))}
	}
	monday := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		annotations map[string]string
		applied     string
		stale       int
		want        string
	}{
		"nothing is asked for":       {applied: "v1", stale: 4},
		"not approved":               {annotations: map[string]string{"weir.dev/approve": ""}, applied: "v1", want: awaitingApproval},
		"another approved":           {annotations: map[string]string{"weir.dev/approve": "v1"}, applied: "v1", want: awaitingApproval},
		"approved":                   {annotations: map[string]string{"weir.dev/approve": "v2"}, applied: "v1"},
		"applied before":             {annotations: map[string]string{"weir.dev/approve": ""}, applied: "v2"},
		"closed":                     {annotations: map[string]string{"weir.dev/window": "Tue 09:00-10:00"}, applied: "v1", want: outsideWindow},
		"open":                       {annotations: map[string]string{"weir.dev/window": "Mon 09:00-17:00"}, applied: "v1"},
		"approved, closed":           {annotations: map[string]string{"weir.dev/window": "Tue 09:00-10:00", "weir.dev/approve": "v2"}, applied: "v1", want: outsideWindow},
		"guarded":                    {annotations: map[string]string{"weir.dev/prune-guard": "50%"}, applied: "v1", stale: 3, want: pruneGuarded},
		"guarded, of one revision":   {annotations: map[string]string{"weir.dev/prune-guard": "50%"}, applied: "v2", stale: 3, want: pruneGuarded},
		"guarded, approved":          {annotations: map[string]string{"weir.dev/prune-guard": "50%", "weir.dev/approve": "v2"}, applied: "v1", stale: 3},
		"guarded, little":            {annotations: map[string]string{"weir.dev/prune-guard": "50%"}, applied: "v1", stale: 2},
		"guarded, approval is older": {annotations: map[string]string{"weir.dev/prune-guard": "50%", "weir.dev/approve": "v1"}, applied: "v1", stale: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := wish.Parse(tt.annotations, wish.Guard{})
			if err != nil {
				t.Fatal(err)
			}
			h := mayApply(w, "v2", tt.applied, refs, refs[:tt.stale], monday)
			if got := ""; h != nil {
				if got = h.reason; got != tt.want || !strings.Contains(h.message, "v2") {
					t.Errorf("held for %s: %s; want %q", got, h.message, tt.want)
				}
			} else if tt.want != "" {
				t.Errorf("not held, want %s", tt.want)
			}
		})
	}
}

// A revision that waits for approval changes nothing; what was applied before
// is kept as it was.
func TestApproval(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("main@sha1:1111111111", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", nil)
	g.annotate("app", "weir.dev/approve", "1111111")
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	g.wantHeld(k, "")
	g.told()

	g.publish("main@sha1:2222222222", map[string]string{"app/b.yaml": configMap("b", "2")})
	for range 2 {
		k, _ = g.reconcile("app")
	}
	if message := g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason); !strings.Contains(message, "1111111111") {
		t.Errorf("Ready says %q", message)
	}
	g.wantHeld(k, awaitingApproval)
	if g.value("a") != "1" || g.value("b") != "(none)" || k.Status.LastAppliedRevision != "main@sha1:1111111111" {
		t.Errorf("a = %s, b = %s, applied %s", g.value("a"), g.value("b"), k.Status.LastAppliedRevision)
	}
	if n := strings.Count(strings.Join(g.told(), "\n"), awaitingApproval); n != 1 {
		t.Errorf("it was told %d times, want once", n)
	}
	g.setValue("a", "by hand", "somebody")
	g.awaitBell("app")
	g.reconcile("app")
	if got := g.value("a"); got != "1" {
		t.Errorf("a = %s, want the drift corrected meanwhile", got)
	}

	g.annotate("app", "weir.dev/approve", "main@sha1:2222222222")
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	g.wantHeld(k, "")
	if g.value("a") != "(none)" || g.value("b") != "2" {
		t.Errorf("a = %s, b = %s after the approval", g.value("a"), g.value("b"))
	}
}

func TestPruneGuard(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	g.kustomization("app", nil)
	g.annotate("app", "weir.dev/prune-guard", "empty")
	g.reconcile("app")
	g.publish("v2", map[string]string{"app/kustomization.yaml": "resources: []\n"})
	k, _ := g.reconcile("app")
	message := g.wantHeld(k, pruneGuarded)
	if !strings.Contains(message, "/a") || !strings.Contains(message, "/b") || !strings.Contains(message, "weir.dev/approve: v2") {
		t.Errorf("Held says %q", message)
	}
	if g.value("a") != "1" || g.value("b") != "1" || len(k.Status.Inventory.Entries) != 2 {
		t.Errorf("a = %s, b = %s, inventory %+v", g.value("a"), g.value("b"), k.Status.Inventory)
	}
	g.annotate("app", "weir.dev/approve", "v2")
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	g.wantHeld(k, "")
	if g.value("a") != "(none)" {
		t.Error("a is still there after the approval")
	}
}

func TestAnotherOwnersObjectsAreKept(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("first", nil)
	g.kustomization("second", nil)
	g.reconcile("first")
	g.annotate("second", "weir.dev/adopt", "never")
	k, _ := g.reconcile("second")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason); !strings.Contains(message, `"first"`) {
		t.Errorf("Ready says %q", message)
	}
	g.annotate("second", "weir.dev/adopt", "always")
	k, _ = g.reconcile("second")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
}

func TestContinueOnError(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"true": "1", "false": "(none)"} {
		t.Run(value, func(t *testing.T) {
			g := newRig(t)
			g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("Not_a_name", "1"),
				"app/c.yaml": "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"})
			g.kustomization("app", nil)
			g.annotate("app", "weir.dev/continue-on-error", value)
			k, _ := g.reconcile("app")
			message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
			if got := g.value("a"); got != want {
				t.Errorf("a = %s, want %s", got, want)
			}
			if want == "1" && (!strings.Contains(message, "Not_a_name") || !strings.Contains(message, "Widget") || len(k.Status.Inventory.Entries) != 1) {
				t.Errorf("Ready says %q, inventory %+v", message, k.Status.Inventory)
			}
		})
	}
}

func TestDependenciesOfAnyKind(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "web/b.yaml": configMap("b", "1")})
	g.kustomization("app", nil)
	g.annotate("app", "weir.dev/depends-on", "ConfigMap/"+g.ns+"/b")
	k, _ := g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.DependencyNotReadyReason); !strings.Contains(message, "/b: it does not exist") {
		t.Errorf("Ready says %q", message)
	}
	g.kustomization("web", func(s *kustomizev1.KustomizationSpec) { s.Path = "./web" })
	g.reconcile("web")
	g.awaitBell("app") // the object came
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
}

func TestUnknownAnnotationsStall(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.kustomization("app", nil)
	g.annotate("app", "weir.dev/drift", "ignore")
	k, _ := g.reconcile("app")
	message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
	if !strings.Contains(message, "weir.dev/drift") || !apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.StalledCondition) {
		t.Errorf("conditions are %+v", k.Status.Conditions)
	}
}
