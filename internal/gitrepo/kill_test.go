package gitrepo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/gitserver"
)

// The child of TestKilledWhileFetching finds its work in these variables.
const (
	childDir = "GITREPO_TEST_CHILD_DIR"
	childURL = "GITREPO_TEST_CHILD_URL"
)

// fetchHead opens a pool and brings the tip of the branch.
func fetchHead(ctx context.Context, dir, url string) (Commit, error) {
	p, err := NewPool(Options{Dir: dir, PollShare: -1})
	if err != nil {
		return Commit{}, err
	}
	defer p.Close()
	r, err := p.Open(url, Auth{})
	if err != nil {
		return Commit{}, err
	}
	rev, err := r.Poll(ctx, Ref{Branch: gitserver.Branch})
	if err != nil {
		return Commit{}, err
	}
	c, err := r.Fetch(ctx, rev)
	if err != nil {
		return c, err
	}
	return c, r.View(ctx, c.Hash, func(v *View) error {
		entries, err := v.ReadDir("")
		for _, e := range entries {
			if _, err := v.ReadFile(e.Name, 1<<20); err != nil {
				return err
			}
		}
		return err
	})
}

// A process that is killed at any moment of a fetch leaves a mirror that the next
// one can use.
func TestKilledWhileFetching(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		if _, err := fetchHead(t.Context(), dir, os.Getenv(childURL)); err != nil {
			t.Fatal(err)
		}
		return
	}
	srv, err := gitserver.Start(gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("f%d.yaml", i)] = strings.Repeat(fmt.Sprint(rand.Uint64()), 200)
	}
	if err := srv.Init("app", files); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "git")
	start := time.Now()
	child := func() *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run=^TestKilledWhileFetching$")
		c.Env = append(os.Environ(), childDir+"="+dir, childURL+"="+srv.URL("app"))
		return c
	}
	if out, err := child().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole, killed := time.Since(start), 0
	for i := range 12 {
		hash, err := srv.Commit("app", gitserver.Branch, "change", map[string]string{fmt.Sprintf("f%d.yaml", i): strings.Repeat(fmt.Sprint(rand.Uint64()), 5000)})
		if err != nil {
			t.Fatal(err)
		}
		c, started := child(), time.Now()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(rand.N(whole), func() { _ = c.Process.Kill() })
		if c.Wait() != nil {
			killed++
		} else {
			whole = min(whole, time.Since(started))
		}
		kill.Stop()
		got, err := fetchHead(t.Context(), dir, srv.URL("app"))
		if err != nil || got.Hash != hash {
			t.Fatalf("after a kill: %q, %v; want %q", got.Hash, err, hash)
		}
	}
	if killed == 0 {
		t.Error("no child was killed before its end: the test shows nothing")
	}
}
