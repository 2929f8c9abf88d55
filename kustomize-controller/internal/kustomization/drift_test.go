package kustomization

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// With weir.dev/drift: report, a hand edit is told with its field and its
// manager, in a condition and one event, and stays; without, it is corrected.
func TestDriftReport(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("main@sha1:1111111111", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	g.kustomization("app", nil)
	g.annotate("app", "weir.dev/drift", "report")
	k, _ := g.reconcile("app")
	if c := apimeta.FindStatusCondition(k.Status.Conditions, driftedCondition); c != nil {
		t.Fatalf("Drifted = %+v before anything was changed", c)
	}
	g.told()

	g.setValue("a", "by hand", "somebody")
	g.awaitBell("app")
	report := func() string {
		t.Helper()
		k, _ := g.reconcile("app")
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
		c := apimeta.FindStatusCondition(k.Status.Conditions, driftedCondition)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != driftReported {
			t.Fatalf("Drifted = %+v", c)
		}
		return c.Message
	}
	want := `main@sha1:1111111111 and are left so: ConfigMap/` + g.ns + `/a at /data/value (changed by field manager "somebody")`
	for range 2 {
		if message := report(); !strings.HasSuffix(message, want) {
			t.Errorf("it says %q, want …%q", message, want)
		}
	}
	if got := g.value("a"); got != "by hand" {
		t.Errorf("a = %q: a report must not write", got)
	}
	g.restart() // a new process knows from the history that this was applied
	if message := report(); !strings.HasSuffix(message, want) {
		t.Errorf("after a restart it says %q", message)
	}
	if n := strings.Count(strings.Join(g.told(), "\n"), driftReported); n != 1 {
		t.Errorf("it was told %d times, want once", n)
	}

	g.annotate("app", "weir.dev/drift", "correct")
	k, _ = g.reconcile("app")
	if c := apimeta.FindStatusCondition(k.Status.Conditions, driftedCondition); c != nil || g.value("a") != "1" {
		t.Errorf("Drifted = %+v, a = %q; want it corrected", c, g.value("a"))
	}
	if told := strings.Join(g.told(), "\n"); !strings.Contains(told, driftCorrected) || !strings.Contains(told, `"somebody"`) {
		t.Errorf("told: %s", told)
	}
}
