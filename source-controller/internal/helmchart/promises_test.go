package helmchart

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestPromises holds the kind to what all kinds promise, with charts of an index and of
// a repository.
func TestPromises(t *testing.T) {
	for name, promise := range sourcetest.Promises {
		t.Run("index/"+name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.offer("app@1.0.0")
			g.create("app", "HelmRepository", "web", "app", nil)
			last := ""
			promise(g.promise(func(n int) {
				last = fmt.Sprintf("app@1.0.%d", n+1)
				g.offer(last)
			}, func(broken bool) {
				if broken {
					g.offer("other@1.0.0")
					return
				}
				g.offer(last)
			}))
		})
		t.Run("git/"+name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.commit(map[string]string{"app/Chart.yaml": metadata("app", "1.0.0"), "app/values.yaml": "a: 1\n", "app/b.yaml": "b: 1\n"})
			g.create("app", "GitRepository", "git", "app", func(s *sourcev1.HelmChartSpec) {
				s.ValuesFiles = []string{"app/values.yaml", "app/b.yaml"}
			})
			last := ""
			promise(g.promise(func(n int) {
				last = metadata("app", fmt.Sprintf("1.0.%d", n+1))
				g.commit(map[string]string{"app/Chart.yaml": last})
			}, func(broken bool) {
				text := last
				if broken {
					text = "name: ["
				}
				g.commit(map[string]string{"app/Chart.yaml": text})
			}))
		})
	}
}

func (g *rig) promise(change func(n int), broken func(bool)) sourcetest.Promise {
	return sourcetest.Promise{
		T: g.t, C: g.c, Resource: "helmcharts", Storage: g.storage,
		Reconcile: func() sourcetest.Source { return g.reconcile("app") },
		Change:    change,
		Break:     broken,
		Asked:     func() int { return len(g.requests()) },
		Told:      g.told,
		Restart: func() {
			g.restart()
			// As it does in a new process, too; one of the two has something to give.
			_, _ = g.repo.Reconcile(g.t.Context(), g.key("web"))
			_, _ = g.gitRepo.Reconcile(g.t.Context(), g.key("git"))
			g.told()
			g.requests()
		},
		Files: func() http.Handler { return g.store.Handler() },
	}
}

// TestHostileServer asserts that no answer to the request for a chart does harm.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.offer("app@1.0.0")
	repo := &sourcev1.HelmRepository{}
	must(t, g.c.Get(t.Context(), client.ObjectKey{Namespace: g.ns, Name: "web"}, repo))
	patient := func(d time.Duration) {
		limit := duration.New(d)
		repo.Spec.Timeout = &limit
		must(t, g.c.Update(t.Context(), repo))
	}
	for _, slow := range []bool{false, true} {
		if slow {
			patient(500 * time.Millisecond)
		}
		for name, a := range sourcetest.Attacks() {
			if a.Slow != slow {
				continue
			}
			t.Run(name, func(t *testing.T) {
				g.t = t
				g.attack(a.HandlerFunc)
				g.create(name, "HelmRepository", "web", "app", nil)
				sourcetest.Attacked(t, g.reconcile(name), a, g.storage, sourcev1.ChartPullErrorReason)
			})
		}
	}
	g.t = t
	g.attack(nil)
	patient(time.Minute)
	g.create("after", "HelmRepository", "web", "app", nil)
	g.ready("after")
}
