package gitrepository

import (
	"errors"
	"fmt"
	"os"
	"testing"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestPromises holds the kind to what all kinds promise.
func TestPromises(t *testing.T) {
	sourcetest.Hold(t, func(t *testing.T) sourcetest.Promise {
		g := newRig(t, gitserver.Options{})
		g.init("app", map[string]string{"a.yaml": "1"})
		g.create("app", nil)
		p := g.Promise("app", "gitrepositories")
		p.Restart = g.restart
		p.Change = func(n int) { g.commit("app", "change", map[string]string{"a.yaml": fmt.Sprint("n: ", n)}) }
		p.Break = func(broken bool) {
			from, to := g.git.Dir("app"), g.git.Dir("gone")
			if !broken {
				from, to = to, from
			}
			must(t, os.Rename(from, to))
		}
		asked := int64(0)
		p.Asked = func() int {
			before := asked
			asked = g.git.Requests()
			return int(asked - before)
		}
		return p
	})
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
