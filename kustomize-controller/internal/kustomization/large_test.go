package kustomization

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/testenv"
)

// What a Kustomization of many objects costs grows with the objects, step by
// step: twice as many, twice the requests. `make bench` has the times.
func TestCostGrowsWithTheObjects(t *testing.T) {
	const status, reads, look = 1, 2, 1
	// A run that takes more than a second says so by one more status write.
	const announcement = 1
	for _, n := range []int{50, 100} {
		g := newRig(t)
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("app/%d.yaml", i)] = configMap(fmt.Sprintf("cm-%d", i), "1")
		}
		g.kustomization("app", nil)
		g.publish("v0", map[string]string{"app/first.yaml": configMap("first", "1")})
		g.reconcile("app") // discovery and the like are paid for now
		files["app/first.yaml"] = configMap("first", "1")

		step := func(what string, saves, want int, change func()) {
			t.Helper()
			change()
			before := len(testenv.Audit(t))
			k, _ := g.reconcile("app")
			g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
			writes, others := 0, 0
			for _, e := range testenv.Audit(t)[before:] {
				switch {
				case e.Verb == "watch":
				case e.Subresource == "status":
					writes++
				default:
					others++
				}
			}
			if others != want+reads+look {
				t.Errorf("%s: %d requests for %d objects, want %d", what, others, n, want+reads+look)
			}
			if writes < saves+status || writes > saves+status+announcement {
				t.Errorf("%s: %d writes of status for %d objects, want %d", what, writes, n, saves+status)
			}
		}
		// The intended inventory is saved before the first write.
		step("install", 1, 2*n, func() { g.publish("v1", files) })
		step("change one", 0, 1, func() { // which needs no dry run beside its apply
			files["app/7.yaml"] = configMap("cm-7", "2")
			g.publish("v2", files)
		})
		step("prune half", 0, 2*(n/2), func() {
			for i := range n / 2 {
				delete(files, fmt.Sprintf("app/%d.yaml", 2*i))
			}
			g.publish("v3", files)
		})
	}
}

// An inventory that does not fit into the object fails before anything is
// applied that would not be on record, and says what to do.
func TestInventoryThatDoesNotFit(t *testing.T) {
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Prune = false })
	k, _ := g.reconcile("app")
	long := strings.Repeat("x", 200)
	for i := range 5600 { // a little under what etcd takes in one request
		k.Status.Inventory.Entries = append(k.Status.Inventory.Entries, kustomizev1.ResourceRef{ID: fmt.Sprintf("%s_%s-%d__ConfigMap", g.ns, long, i), Version: "v1"})
	}
	if err := g.Status().Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"app/a.yaml": configMap("a", "1")}
	for i := range 900 {
		files["app/many.yaml"] += "---\n" + configMap(fmt.Sprintf("%s-new-%d", long, i), "1")
	}
	g.publish("v2", files)
	k, _ = g.reconcile("app")
	message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
	if !strings.Contains(message, "6501 objects") || !strings.Contains(message, "into several Kustomizations") {
		t.Errorf("Ready says %q", message)
	}
	if got := g.owned(); len(got) != 1 {
		t.Errorf("%d objects were applied", len(got)-1)
	}
}
