package helmchart

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestPromises holds the kind to what all kinds promise, with charts of an index.
func TestPromises(t *testing.T) {
	sourcetest.Hold(t, func(t *testing.T) sourcetest.Promise {
		g := newRig(t)
		g.offer("app@1.0.0")
		g.create("app", "HelmRepository", "web", "app", nil)
		last := ""
		p := g.promise()
		p.Change = func(n int) {
			last = fmt.Sprintf("app@1.0.%d", n+1)
			g.offer(last)
		}
		p.Break = func(broken bool) {
			if broken {
				g.offer("other@1.0.0")
				return
			}
			g.offer(last)
		}
		return p
	})
}

// TestPromisesFromGit is TestPromises with charts of a repository.
func TestPromisesFromGit(t *testing.T) {
	sourcetest.Hold(t, func(t *testing.T) sourcetest.Promise {
		g := newRig(t)
		g.commit(map[string]string{"app/Chart.yaml": metadata("app", "1.0.0"), "app/values.yaml": "a: 1\n", "app/b.yaml": "b: 1\n"})
		g.create("app", "GitRepository", "git", "app", func(s *sourcev1.HelmChartSpec) {
			s.ValuesFiles = []string{"app/values.yaml", "app/b.yaml"}
		})
		last := ""
		p := g.promise()
		p.Change = func(n int) {
			last = metadata("app", fmt.Sprintf("1.0.%d", n+1))
			g.commit(map[string]string{"app/Chart.yaml": last})
		}
		p.Break = func(broken bool) {
			text := last
			if broken {
				text = "name: ["
			}
			g.commit(map[string]string{"app/Chart.yaml": text})
		}
		return p
	})
}

func (g *rig) promise() sourcetest.Promise {
	p := g.Promise("app", "helmcharts")
	p.Asked = func() int { return len(g.requests()) }
	p.Restart = func() {
		g.restart()
		// As it does in a new process, too; one of the two has something to give.
		_, _ = g.repo.Reconcile(g.T.Context(), g.request("web"))
		_, _ = g.gitRepo.Reconcile(g.T.Context(), g.request("git"))
		g.Told()
		g.requests()
	}
	return p
}

// TestHostileServer asserts that no answer to the request for a chart does harm.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.offer("app@1.0.0")
	repo := &sourcev1.HelmRepository{}
	must(t, g.C.Get(t.Context(), g.Key("web"), repo))
	patient := func(d time.Duration) {
		limit := duration.New(d)
		repo.Spec.Timeout = &limit
		must(t, g.C.Update(t.Context(), repo))
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
				g.T = t
				g.attack(a.HandlerFunc)
				g.create(name, "HelmRepository", "web", "app", nil)
				sourcetest.Attacked(t, g.Reconcile(name), a, g.Storage, sourcev1.ChartPullErrorReason)
			})
		}
	}
	g.T = t
	g.attack(nil)
	patient(time.Minute)
	g.create("after", "HelmRepository", "web", "app", nil)
	g.Ready("after")
}
