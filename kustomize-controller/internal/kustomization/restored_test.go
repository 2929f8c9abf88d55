package kustomization

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/testenv"
)

// A revision that is held back stays so over a restart, and the one before it is
// kept meanwhile: edits are undone, what is deleted comes back, and nothing is
// pruned, though its source is gone.
func TestDriftOfAHeldRevisionAfterARestart(t *testing.T) {
	t.Parallel()
	closed := time.Now().UTC().Add(48*time.Hour).Format("Mon") + " 00:00-24:00 UTC"
	for name, tt := range map[string]struct{ key, value, reason string }{
		"approval": {"weir.dev/approve", "1111111", awaitingApproval},
		"window":   {"weir.dev/window", closed, outsideWindow},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.publish("main@sha1:1111111111", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1"), "app/c.yaml": configMap("c", "1")})
			g.kustomization("app", nil)
			g.reconcile("app")
			g.annotate("app", tt.key, tt.value)
			g.publish("main@sha1:2222222222", map[string]string{"app/a.yaml": configMap("a", "2")})
			k, _ := g.reconcile("app")
			g.wantHeld(k, tt.reason)
			g.told()

			// One object goes while no controller runs.
			g.remove("c")
			g.restart()
			k, _ = g.reconcile("app")
			if message := g.wantHeld(k, tt.reason); !strings.Contains(message, "ConfigMap/"+g.ns+"/c") || strings.Contains(message, g.ns+"/a") {
				t.Errorf("Held says %q, want it to name c alone", message)
			}
			g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)

			g.setValue("a", "by hand", "somebody")
			g.awaitBell("app")
			g.reconcile("app")
			g.remove("b")
			g.awaitBell("app")
			k, _ = g.reconcile("app")
			if got := fmt.Sprint(g.value("a"), g.value("b"), g.value("c")); got != "11(none)" {
				t.Errorf("a, b and c are %s, want drift corrected", got)
			}
			if len(k.Status.Inventory.Entries) != 3 || k.Status.LastAppliedRevision != "main@sha1:1111111111" {
				t.Errorf("revision %s, inventory %+v", k.Status.LastAppliedRevision, k.Status.Inventory)
			}
			if told := strings.Join(g.told(), "\n"); strings.Count(told, driftCorrected) != 2 || strings.Contains(told, "/c deleted") {
				t.Errorf("events are\n%s", told)
			}
			before := len(testenv.Audit(t))
			g.reconcile("app")
			for _, e := range testenv.Audit(t)[before:] {
				if e.Namespace == g.ns && e.Resource == "configmaps" && e.Verb != "watch" {
					t.Errorf("with nothing to do it asked %s %s", e.Verb, e.URI)
				}
			}

			g.edit("app", func(k *kustomizev1.Kustomization) { k.Annotations = nil })
			k, _ = g.reconcile("app")
			g.wantHeld(k, "")
			g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
			if got := fmt.Sprint(g.value("a"), g.value("b"), len(k.Status.Inventory.Entries)); got != "2(none)1" {
				t.Errorf("a, b and the inventory are %s after the hold", got)
			}
		})
	}
}

func (g *rig) remove(name string) {
	g.Helper()
	if err := g.Delete(g.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.ns}}); err != nil {
		g.Fatal(err)
	}
}
