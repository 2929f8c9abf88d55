package kustomization

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

// The workloads of the benchmark, made small: what a first apply and a commit
// that changes everything ask of the API server, for each Kustomization. Events
// are requests as well.
func TestCostOfManyKustomizations(t *testing.T) {
	t.Parallel()
	const count, objects = 5, 6
	g := newRig(t)
	files := map[string]string{"first/a.yaml": configMap("first", "1")}
	all := func(value string) {
		for i := range count {
			for j := range objects {
				files[fmt.Sprintf("k%d/%d.yaml", i, j)] = configMap(fmt.Sprintf("cm-%d-%d", i, j), value)
			}
		}
	}
	all("1")
	g.publish("v1", files)
	g.kustomization("first", func(s *kustomizev1.KustomizationSpec) { s.Path = "./first" })
	r := g.run(4)
	r.readyAll(1, "v1") // discovery and lists are paid for now
	r.asked()
	g.told()
	cost := func(what string, requests, events, statuses int) {
		t.Helper()
		told := 0
		g.await("all events are told", func() string { // they come after the status
			if told += len(g.told()); told < events {
				return fmt.Sprintf("%d are, want %d", told, events)
			}
			return ""
		})
		if told > events {
			t.Errorf("%s: %d events for %d Kustomizations, want %d", what, told, count, events)
		}
		asked := r.asked()
		written := 0
		for _, a := range asked {
			if strings.Contains(a, "/status") {
				written++
			}
		}
		if got := len(asked) - written; got > requests {
			t.Errorf("%s: %d requests for %d Kustomizations of %d objects, want %d at most:\n%s", what, got, count, objects, requests, strings.Join(asked, "\n"))
		}
		// A run that takes more than a second says so by one more write.
		if written > statuses+count+1 {
			t.Errorf("%s: %d writes of status for %d Kustomizations, want %d", what, written, count, statuses)
		}
	}

	for i := range count {
		g.kustomization(fmt.Sprintf("k%d", i), func(s *kustomizev1.KustomizationSpec) { s.Path = fmt.Sprintf("./k%d", i) })
	}
	r.readyAll(count+1, "v1")
	// A dry run and an apply of each object, and the finalizer; two events; the
	// inventory before anything is applied, and the status.
	const finalizer, events, inventory, status = 1, 2, 1, 1
	cost("first apply", count*(2*objects+finalizer), count*events, count*(inventory+status))

	all("2")
	g.publish("v2", files)
	r.readyAll(count+1, "v2")
	// One object of each needs no dry run. The Kustomization that does not change
	// has a new revision to note, and an event to make of it.
	cost("commit to all", count*(2*objects-1), count*events+1, (count+1)*status)
}
