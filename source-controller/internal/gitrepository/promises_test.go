package gitrepository

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestPromises holds the kind to what all kinds promise.
func TestPromises(t *testing.T) {
	for name, promise := range sourcetest.Promises {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t, gitserver.Options{})
			g.init("app", map[string]string{"a.yaml": "1"})
			g.create("app", nil)
			asked := int64(0)
			promise(sourcetest.Promise{
				T: t, C: g.c, Resource: "gitrepositories", Storage: g.storage,
				Reconcile: func() sourcetest.Source { return g.reconcile("app") },
				Change:    func(n int) { g.commit("app", "change", map[string]string{"a.yaml": fmt.Sprint("n: ", n)}) },
				Break: func(broken bool) {
					from, to := g.git.Dir("app"), g.git.Dir("gone")
					if !broken {
						from, to = to, from
					}
					sourcetest.Must(t, os.Rename(from, to))
				},
				Asked: func() int {
					before := asked
					asked = g.git.Requests()
					return int(asked - before)
				},
				Told:    g.told,
				Restart: g.restart,
				Files:   func() http.Handler { return g.o.Store.Handler() },
			})
		})
	}
}

// TestModeFromBefore asserts what is said of a mode of verification that the schema let
// pass once.
func TestModeFromBefore(t *testing.T) {
	t.Parallel()
	repo := &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{Verification: &sourcev1.GitRepositoryVerification{Mode: "Everything"}}}
	_, err := New(Options{}).trust(t.Context(), repo)
	if f, ok := errors.AsType[*loop.Failure](err); !ok || f.Reason != sourcev1.InvalidVerificationModeReason || !f.Final {
		t.Errorf("got %v", err)
	}
}
