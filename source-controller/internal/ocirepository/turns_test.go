package ocirepository

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestManyLooksFewPulls asserts that objects wait for the registry side by side and
// are pulled one after the other.
func TestManyLooksFewPulls(t *testing.T) {
	t.Parallel()
	const objects = 6
	g := newRig(t)
	var looking sync.WaitGroup // until all objects look at once
	looking.Add(objects)
	var pulling, most atomic.Int64
	g.through(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodHead:
				looking.Done()
				looking.Wait()
			case strings.Contains(r.URL.Path, "/manifests/"):
				now := pulling.Add(1)
				most.Store(max(most.Load(), now))
			case strings.Contains(r.URL.Path, "/blobs/"):
				defer pulling.Add(-1)
			}
			h.ServeHTTP(w, r)
		})
	})
	for i := range objects {
		g.files(fmt.Sprintf("app-%d", i), "latest", map[string]string{"a": fmt.Sprint(i)})
		g.create(fmt.Sprintf("app-%d", i), nil)
	}
	var done sync.WaitGroup
	for i := range objects {
		done.Go(func() { _, _ = g.Loop.Reconcile(t.Context(), g.request(fmt.Sprintf("app-%d", i))) })
	}
	done.Wait()
	for i := range objects {
		if repo := g.Get(fmt.Sprintf("app-%d", i)); repo.Status.Artifact == nil {
			t.Errorf("app-%d is not published: %+v", i, repo.Status.Conditions)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d objects were pulled at once, want 1", most.Load())
	}
}
