package gitrepository

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
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
		done.Go(func() { g.Loop.Reconcile(t.Context(), request(g.Get(fmt.Sprintf("app-%d", i)))) })
	}
	done.Wait()
	if n := fetches.Load(); n != objects {
		t.Errorf("%d fetches side by side, want %d", n, objects)
	}
	for i := range objects {
		name := fmt.Sprintf("app-%d", i)
		if got := g.Content(g.Get(name).Status.Artifact)["a.yaml"]; got != name {
			t.Errorf("%s has %q", name, got)
		}
	}
}

// meeting lets everybody who comes wait until the given number of different ones is
// there, or somebody has waited too long.
type meeting struct {
	size int
	all  chan struct{}
	mu   sync.Mutex
	here map[string]bool
}

func newMeeting(size int) *meeting {
	return &meeting{size: size, all: make(chan struct{}), here: map[string]bool{}}
}

func (m *meeting) join(ctx context.Context, who string) {
	m.mu.Lock()
	if !m.here[who] {
		if m.here[who] = true; len(m.here) == m.size {
			close(m.all)
		}
	}
	m.mu.Unlock()
	select {
	case <-m.all:
	case <-ctx.Done():
	}
}

// A controller with the default number of workers looks at many repositories at the
// same time, when they are new and at each interval: nobody's look waits for another's.
func TestLooksAreNoWorkers(t *testing.T) {
	const objects = 12
	first, timed := newMeeting(objects), newMeeting(objects)
	var looks [objects]atomic.Int64
	g := newRig(t, gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var n int
			_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/app-"), "/")
			if _, err := fmt.Sscanf(r.URL.Path, "/app-%d/", &n); err != nil {
				t.Errorf("a request for %q", r.URL.Path)
			}
			r.URL.Path = "/app/" + rest // there is one repository of many names
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			if bytes.Contains(body, []byte("command=ls-refs")) {
				switch looks[n].Add(1) {
				case 1:
					first.join(r.Context(), r.URL.Path+fmt.Sprint(n))
				case 2:
					timed.join(r.Context(), r.URL.Path+fmt.Sprint(n))
				}
			}
			next.ServeHTTP(w, r)
		})
	}})
	g.init("app", map[string]string{"a.yaml": "1"})
	for i := range objects {
		g.create(fmt.Sprintf("app-%d", i), func(r *sourcev1.GitRepository) { r.Spec.Interval = duration.New(time.Second) })
	}
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{
		Scheme: g.C.Scheme(), Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{g.NS: {}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	g.o.Client, g.o.Packs = mgr.GetClient(), 2
	env := &process.Env{Name: "source-controller", FieldOwner: "source-controller", Manager: mgr, Recorder: g.Env.Recorder, Concurrent: 2}
	if err := New(g.o).Setup(ctx, env); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for title, m := range map[string]*meeting{"first": first, "timed": timed} {
		select {
		case <-m.all:
		case <-time.After(time.Minute):
			m.mu.Lock()
			t.Errorf("%s looks: %d at the same time, want %d", title, len(m.here), objects)
			m.mu.Unlock()
		}
	}
}
