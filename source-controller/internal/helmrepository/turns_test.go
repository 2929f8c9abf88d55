package helmrepository

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/testenv"
)

// TestManyPolls asserts that repositories wait for a slow server side by side, however
// few indexes are read at once, and that a poll with nothing new writes nothing.
func TestManyPolls(t *testing.T) {
	t.Parallel()
	const objects = 40
	g := newRig(t) // one index is read at once
	for i := range objects {
		g.create(fmt.Sprintf("app-%d", i), nil)
	}
	all := func() {
		t.Helper()
		var done sync.WaitGroup
		for i := range objects {
			done.Go(func() {
				_, _ = g.Loop.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: g.NS, Name: fmt.Sprintf("app-%d", i)}})
			})
		}
		done.Wait()
	}
	var waiting sync.WaitGroup // until all objects have asked
	waiting.Add(objects)
	var asked atomic.Int64
	front := g.front.Config.Handler
	g.front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= objects {
			waiting.Done()
			waiting.Wait()
		}
		_, _ = io.Copy(io.Discard, r.Body)
		front.ServeHTTP(w, r)
	})
	all()
	for i := range objects {
		if repo := g.Get(fmt.Sprintf("app-%d", i)); repo.Status.Artifact == nil {
			t.Fatalf("app-%d is not published: %+v", i, repo.Status.Conditions)
		}
	}

	// Once more, with nothing new: as slow as before, and not one write.
	asked.Store(0)
	waiting.Add(objects)
	writes := func() (n int) {
		for _, e := range testenv.Audit(t) {
			if e.Namespace == g.NS && e.Resource == "helmrepositories" && e.Writes() {
				n++
			}
		}
		return n
	}
	before := writes()
	all()
	if asked.Load() != objects {
		t.Errorf("%d polls cost %d requests", objects, asked.Load())
	}
	if n := writes() - before; n != 0 {
		t.Errorf("%d polls with nothing new wrote %d times", objects, n)
	}
	// Created here; then the finalizer and the status of each, and once more the
	// status where the work took longer than a second.
	if before < 3*objects || before > 4*objects {
		t.Errorf("%d objects cost %d writes, want 3 for each", objects, before)
	}
}
