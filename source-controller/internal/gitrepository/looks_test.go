package gitrepository

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// Repositories wait for their servers side by side, with one turn to pack for all:
// each of them waits until all others ask too, for a look and for a fetch.
func TestManyLooksSideBySide(t *testing.T) {
	t.Parallel()
	const objects = 6
	var looking, fetching sync.WaitGroup
	var fetches atomic.Int64
	looking.Add(objects)
	fetching.Add(objects)
	g := newRig(t, gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			switch {
			case r.Method == http.MethodGet:
				looking.Done()
				looking.Wait()
			case bytes.Contains(body, []byte("command=fetch")):
				fetches.Add(1)
				fetching.Done()
				fetching.Wait()
			}
			next.ServeHTTP(w, r)
		})
	}})
	for i := range objects {
		name := fmt.Sprintf("app-%d", i)
		g.init(name, map[string]string{"a.yaml": name})
		g.create(name, func(r *sourcev1.GitRepository) {})
	}
	var done sync.WaitGroup
	for i := range objects {
		done.Go(func() { g.r.Reconcile(t.Context(), request(g.get(fmt.Sprintf("app-%d", i)))) })
	}
	done.Wait()
	if n := fetches.Load(); n != objects {
		t.Errorf("%d fetches side by side, want %d", n, objects)
	}
	for i := range objects {
		name := fmt.Sprintf("app-%d", i)
		if got := g.files(g.get(name).Status.Artifact)["a.yaml"]; got != name {
			t.Errorf("%s has %q", name, got)
		}
	}
}
