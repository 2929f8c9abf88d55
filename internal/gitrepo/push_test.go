package gitrepo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/gitserver"
)

func TestPushOverEveryTransport(t *testing.T) {
	t.Parallel()
	who := Signature{Name: "Weir", Email: "weir@example.com", When: time.Unix(1700000000, 0).UTC()}
	for title, w := range ways(t) {
		t.Run(title, func(t *testing.T) {
			s, r := w.start(t)
			base := fetch(t, r, poll(t, r, Ref{Branch: "main"}))
			edits := []Edit{{"apps/a.yaml", []byte("a: 9\n")}, {"run.sh", []byte("#!/bin/sh\nexit\n")}, {"new/deep/c.yaml", []byte("c\n")}}
			hash, err := r.Commit(t.Context(), base.Hash, edits, CommitOptions{Author: who, Committer: who, Message: "Update\n"})
			must(t, err)
			must(t, r.Push(t.Context(), Push{Commit: hash, Base: base.Hash, Branch: "main"}))
			if head, _ := s.Head(name, "main"); head != hash {
				t.Fatalf("head %s, want %s", head, hash)
			}
			if _, err := s.Git(name, "fsck", "--strict", "--no-dangling"); err != nil {
				t.Error(err)
			}
			want := map[string]string{"apps/a.yaml": "a: 9\n", "apps/b.yaml": "b: 1\n", "run.sh": "#!/bin/sh\nexit\n", "new/deep/c.yaml": "c\n"}
			if diff := cmp.Diff(want, files(t, r, hash)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			before := s.Requests()
			if rev := poll(t, r, Ref{Branch: "main"}); rev.Hash != hash {
				t.Errorf("poll after the push: %s", rev)
			}
			fetch(t, r, Revision{Hash: hash})
			if n := s.Requests() - before; n > 2 {
				t.Errorf("%d requests after the push, want the poll alone", n)
			}
			// A new branch, and the same push again as after a lost answer.
			for range 2 {
				must(t, r.Push(t.Context(), Push{Commit: hash, Base: base.Hash, Branch: "auto/update"}))
			}
		})
	}
}

func TestPushRaces(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{})
	p := pool(t, Options{})
	r := open(t, p, s.URL(name), Auth{})
	base := fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	one := func(path string) error {
		h, err := r.Commit(t.Context(), base.Hash, []Edit{{path, []byte(path)}}, CommitOptions{Message: path})
		if err != nil {
			return err
		}
		return r.Push(t.Context(), Push{Commit: h, Base: base.Hash, Branch: "main"})
	}
	results := make(chan error, 2)
	for _, path := range []string{"one", "two"} {
		go func() { results <- one(path) }()
	}
	a, b := <-results, <-results
	if (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), ErrNonFastForward) {
		t.Errorf("two pushers: %v and %v, want one ErrNonFastForward", a, b)
	}
	h, err := r.Commit(t.Context(), base.Hash, []Edit{{"three", nil}}, CommitOptions{Message: "three"})
	must(t, err)
	force := Push{Commit: h, Base: base.Hash, Branch: "main", Force: true}
	if err := r.Push(t.Context(), force); !errors.Is(err, ErrNonFastForward) {
		t.Errorf("a forced push over what it has not seen: %v, want ErrNonFastForward", err)
	}
	force.Base, err = s.Head(name, "main")
	must(t, err)
	force.Known = base.Hash
	must(t, r.Push(t.Context(), force))
	if head, _ := s.Head(name, "main"); head != h {
		t.Errorf("forced push: head %s, want %s", head, h)
	}
}

func TestRefusal(t *testing.T) {
	for text, want := range map[string]error{
		"non-fast-forward": ErrNonFastForward, "cannot lock ref 'refs/heads/main': is at 1 but expected 2": ErrNonFastForward,
		"protected branch hook declined": ErrProtected, "GH006: Protected branch update failed for refs/heads/main.": ErrProtected,
		"TF402455: Pushes to this branch are not permitted": ErrProtected, "pre-receive hook declined": ErrRejected,
	} {
		if err := refusal(text); !errors.Is(err, want) || errors.Is(want, ErrRejected) != errors.Is(err, ErrRejected) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func TestPushRejected(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{})
	must(t, s.Hook(name, "pre-receive", "#!/bin/sh\necho main is protected, open a merge request >&2\nexit 1\n"))
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	base := fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	h, err := r.Commit(t.Context(), base.Hash, []Edit{{"x", []byte("x")}}, CommitOptions{Message: "x"})
	must(t, err)
	err = r.Push(t.Context(), Push{Commit: h, Base: base.Hash, Branch: "main"})
	if !errors.Is(err, ErrRejected) || !strings.Contains(err.Error(), "open a merge request") {
		t.Errorf("protected branch: %v", err)
	}
}

func TestPushOptionsAndRefspecs(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{})
	must(t, s.Hook(name, "pre-receive", "#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION_ > options\n"))
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	base := fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	h, err := r.Commit(t.Context(), base.Hash, []Edit{{"x", []byte("x")}}, CommitOptions{Message: "x"})
	must(t, err)
	must(t, r.Push(t.Context(), Push{Commit: h, Base: base.Hash, Branch: "auto", Refspecs: []string{"HEAD:refs/for/main"}, Options: map[string]string{"topic": "t", "wip": ""}}))
	for _, ref := range []string{"refs/heads/auto", "refs/for/main"} {
		if got, _ := s.Git(name, "rev-parse", ref); got != h {
			t.Errorf("%s is at %s, want %s", ref, got, h)
		}
	}
	got, err := os.ReadFile(filepath.Join(s.Dir(name), "options"))
	must(t, err)
	for _, want := range []string{"GIT_PUSH_OPTION_COUNT=2", "GIT_PUSH_OPTION_0=topic=t", "GIT_PUSH_OPTION_1=wip"} {
		if !strings.Contains(string(got), want+"\n") {
			t.Errorf("push options %q lack %q", got, want)
		}
	}
}
