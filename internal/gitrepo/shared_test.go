package gitrepo

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/gitserver"
)

// Fifty objects that follow the same branch of the same repository cost what one
// costs, and a commit that is here costs nothing.
func TestFiftyFollowersCostOne(t *testing.T) {
	srv, err := gitserver.Start(gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	if err := srv.Init("app", map[string]string{"a.yaml": "1"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := NewPool(Options{Dir: dir, PollShare: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var followers sync.WaitGroup
	for range 50 {
		followers.Go(func() {
			r, err := p.Open(srv.URL("app"), Auth{})
			if err != nil {
				t.Error(err)
				return
			}
			rev, err := r.Poll(t.Context(), Ref{Branch: gitserver.Branch})
			if err == nil {
				_, err = r.Fetch(t.Context(), rev)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	followers.Wait()
	if n := srv.Requests(); n != 3 { // capabilities, refs, pack
		t.Errorf("%d requests for one poll and one fetch", n)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	mirrors := 0
	for _, e := range entries {
		if e.IsDir() {
			mirrors++
		}
	}
	if mirrors != 1 {
		t.Errorf("%d mirrors", mirrors)
	}

	head, err := srv.Head("app", gitserver.Branch)
	if err != nil {
		t.Fatal(err)
	}
	before := srv.Requests()
	r, err := p.Open(srv.URL("app"), Auth{})
	if err != nil {
		t.Fatal(err)
	}
	rev, err := r.Poll(t.Context(), Ref{Commit: head})
	if err == nil {
		_, err = r.Fetch(t.Context(), rev)
	}
	if n := srv.Requests() - before; err != nil || n != 0 {
		t.Errorf("a commit that is here costs %d requests, %v", n, err)
	}
}
