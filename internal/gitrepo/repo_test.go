package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/gitserver"
)

const name = "fleet"

var firstFiles = map[string]string{"apps/a.yaml": "a: 1\n", "apps/b.yaml": "b: 1\n", "run.sh": "#!/bin/sh\n"}

func serve(t testing.TB, o gitserver.Options) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Init(name, firstFiles); err != nil {
		t.Fatal(err)
	}
	return s
}

func pool(t testing.TB, o Options) *Pool {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.PollShare == 0 {
		o.PollShare = -1 // tests poll again at once
	}
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func open(t testing.TB, p *Pool, url string, a Auth) *Repo {
	t.Helper()
	r, err := p.Open(url, a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func poll(t testing.TB, r *Repo, ref Ref) Revision {
	t.Helper()
	rev, err := r.Poll(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func fetch(t testing.TB, r *Repo, rev Revision) Commit {
	t.Helper()
	c, err := r.Fetch(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// files reads all files of a commit through the View.
func files(t testing.TB, r *Repo, hash string) map[string]string {
	t.Helper()
	got := map[string]string{}
	var walk func(v *View, dir string) error
	walk = func(v *View, dir string) error {
		entries, err := v.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := strings.TrimPrefix(dir+"/"+e.Name, "/")
			if e.Dir {
				if err := walk(v, path); err != nil {
					return err
				}
				continue
			}
			rc, _, err := v.Open(e)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(rc)
			if err := errors.Join(err, rc.Close()); err != nil {
				return err
			}
			if strings.HasSuffix(path, ".sh") != e.Executable {
				return fmt.Errorf("%s: executable is %v", path, e.Executable)
			}
			got[path] = string(data)
		}
		return nil
	}
	if err := r.View(t.Context(), hash, func(v *View) error { return walk(v, "") }); err != nil {
		t.Fatal(err)
	}
	return got
}

// way is a transport with the credentials it needs.
type way struct {
	o    gitserver.Options
	url  func(*gitserver.Server) string
	auth func(*gitserver.Server) map[string][]byte
}

func ways(t testing.TB) map[string]way {
	t.Helper()
	key, authorized, err := gitserver.NewIdentity("")
	if err != nil {
		t.Fatal(err)
	}
	locked, lockedPublic, err := gitserver.NewIdentity("sesame")
	if err != nil {
		t.Fatal(err)
	}
	web := func(s *gitserver.Server) string { return s.URL(name) }
	shell := func(s *gitserver.Server) string { return s.SSHURL(name) }
	secret := func(kv ...string) func(*gitserver.Server) map[string][]byte {
		return func(s *gitserver.Server) map[string][]byte {
			m := map[string][]byte{}
			for i := 0; i < len(kv); i += 2 {
				m[kv[i]] = []byte(kv[i+1])
			}
			if s.KnownHosts() != nil {
				m["known_hosts"] = s.KnownHosts()
			}
			if strings.HasPrefix(s.URL(name), "https") {
				m["ca.crt"] = s.CA()
			}
			return m
		}
	}
	withCert := func(s *gitserver.Server) map[string][]byte {
		cert, key, err := s.ClientCert()
		if err != nil {
			t.Fatal(err)
		}
		return map[string][]byte{"ca.crt": s.CA(), "tls.crt": cert, "tls.key": key}
	}
	basic := gitserver.Options{Username: "u", Password: "p"}
	return map[string]way{
		"http":        {gitserver.Options{}, web, secret()},
		"http v0":     {gitserver.Options{V0: true}, web, secret()},
		"basic":       {basic, web, secret("username", "u", "password", "p")},
		"bearer":      {gitserver.Options{Bearer: "b"}, web, secret("bearerToken", "b")},
		"user in URL": {basic, func(s *gitserver.Server) string { return strings.Replace(s.URL(name), "://", "://u:p@", 1) }, secret()},
		"https":       {gitserver.Options{TLS: true}, web, secret()},
		"client cert": {gitserver.Options{ClientTLS: true}, web, withCert},
		"ssh":         {gitserver.Options{SSH: true, AuthorizedKeys: [][]byte{authorized}}, shell, secret("identity", string(key))},
		"ssh locked":  {gitserver.Options{SSH: true, AuthorizedKeys: [][]byte{lockedPublic}}, shell, secret("identity", string(locked), "password", "sesame")},
		"ssh v0":      {gitserver.Options{SSH: true, V0: true, AuthorizedKeys: [][]byte{authorized}}, shell, secret("identity", string(key))},
	}
}

func (w way) start(t testing.TB) (*gitserver.Server, *Repo) {
	t.Helper()
	s := serve(t, w.o)
	a, err := ParseAuth(w.url(s), w.auth(s))
	if err != nil {
		t.Fatal(err)
	}
	return s, open(t, pool(t, Options{}), w.url(s), a)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, s *gitserver.Server, branch string, files map[string]string, remove ...string) string {
	t.Helper()
	h, err := s.Commit(name, branch, "change", files, remove...)
	must(t, err)
	return h
}

// inGit is what git says of a commit.
type inGit struct {
	tree  string
	files map[string]string
}

func asGitSays(t *testing.T, s *gitserver.Server, hash string, known map[string]inGit) inGit {
	t.Helper()
	if c, ok := known[hash]; ok {
		return c
	}
	tree, err := s.Git(name, "rev-parse", hash+"^{tree}")
	must(t, err)
	c := inGit{tree, map[string]string{}}
	list, err := s.Git(name, "ls-tree", "-r", "--name-only", hash)
	must(t, err)
	for p := range strings.Lines(list) {
		p = strings.TrimSpace(p)
		c.files[p], err = s.Git(name, "cat-file", "blob", hash+":"+p)
		must(t, err)
	}
	known[hash] = c
	return c
}

func TestRefsOverEveryTransport(t *testing.T) {
	t.Parallel()
	for title, w := range ways(t) {
		t.Run(title, func(t *testing.T) {
			s, r := w.start(t)
			first, err := s.Head(name, "main")
			must(t, err)
			second := commit(t, s, "main", map[string]string{"apps/a.yaml": "a: 2\n"})
			pull := commit(t, s, "topic", map[string]string{"topic": "t"})
			must(t, s.Tag(name, "v1.0.0", first, ""))
			must(t, s.Tag(name, "v1.2.0", second, "annotated"))
			must(t, s.Tag(name, "v2.0.0", pull, ""))
			_, err = s.Git(name, "update-ref", "refs/pull/1/head", pull)
			must(t, err)
			_, err = s.Git(name, "branch", "master", first)
			must(t, err)
			cases := map[string]struct {
				ref  Ref
				want string
			}{
				"default":        {Ref{}, "master@sha1:" + first},
				"branch":         {Ref{Branch: "main"}, "main@sha1:" + second},
				"tag":            {Ref{Tag: "v1.0.0"}, "v1.0.0@sha1:" + first},
				"annotated":      {Ref{Tag: "v1.2.0"}, "v1.2.0@sha1:" + second},
				"semver":         {Ref{SemVer: "1.x", Branch: "main"}, "v1.2.0@sha1:" + second},
				"name":           {Ref{Name: "refs/pull/1/head", SemVer: "1.x"}, "refs/pull/1/head@sha1:" + pull},
				"commit":         {Ref{Commit: first, Name: "refs/pull/1/head"}, "sha1:" + first},
				"semver, tag":    {Ref{SemVer: "1.x", Tag: "v2.0.0", Branch: "main"}, "v1.2.0@sha1:" + second},
				"tag, branch":    {Ref{Tag: "v1.0.0", Branch: "main"}, "v1.0.0@sha1:" + first},
				"all":            {Ref{Commit: first, Name: "refs/pull/1/head", SemVer: "1.x", Tag: "v2.0.0", Branch: "main"}, "main@sha1:" + first},
				"branch, commit": {Ref{Commit: first, Branch: "main"}, "main@sha1:" + first},
			}
			known := map[string]inGit{}
			for title, c := range cases {
				rev := poll(t, r, c.ref)
				if rev.String() != c.want {
					t.Errorf("%s: %s, want %s", title, rev, c.want)
				}
				want := asGitSays(t, s, rev.Hash, known)
				if got := fetch(t, r, rev); got.Tree != want.tree || got.Author.Name != gitserver.AuthorName {
					t.Errorf("%s: fetched %+v, want tree %s", title, got, want.tree)
				}
				got := files(t, r, rev.Hash)
				for p := range got {
					got[p] = strings.TrimSpace(got[p])
				}
				if diff := cmp.Diff(want.files, got); diff != "" {
					t.Errorf("%s: files (-want +got):\n%s", title, diff)
				}
			}
			if _, err := r.Poll(t.Context(), Ref{Branch: "none"}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "refs/heads/none") {
				t.Errorf("unknown branch: %v", err)
			}
			if _, err := r.Fetch(t.Context(), Revision{Hash: strings.Repeat("1", 40)}); !errors.Is(err, ErrNotFound) {
				t.Errorf("unknown commit: %v", err)
			}
		})
	}
}

func TestCredentialsRefused(t *testing.T) {
	key, authorized, err := gitserver.NewIdentity("")
	must(t, err)
	other, _, err := gitserver.NewIdentity("")
	must(t, err)
	s := serve(t, gitserver.Options{Username: "u", Password: "right", TLS: true, SSH: true, AuthorizedKeys: [][]byte{authorized}})
	s2 := serve(t, gitserver.Options{TLS: true, SSH: true})
	cases := map[string]struct {
		url  string
		auth Auth
		want error
		text string
	}{
		"none":          {s.URL(name), Auth{CA: s.CA()}, ErrAuth, "asks for credentials"},
		"wrong":         {s.URL(name), Auth{CA: s.CA(), Username: "u", Password: "planted-secret"}, ErrAuth, "401"},
		"wrong CA":      {s.URL(name), Auth{CA: s2.CA()}, ErrUnreachable, "ca.crt"},
		"system CA":     {s.URL(name), Auth{}, ErrUnreachable, "certificate"},
		"no repository": {s2.URL("nowhere"), Auth{CA: s2.CA()}, ErrNotFound, "404"},
		"wrong key":     {s.SSHURL(name), Auth{Identity: other, KnownHosts: s.KnownHosts()}, ErrAuth, "key"},
		"unknown host":  {s.SSHURL(name), Auth{Identity: key, KnownHosts: []byte("example.com " + strings.SplitN(string(s2.KnownHosts()), " ", 2)[1])}, ErrHostKey, "known_hosts"},
		"other key":     {s.SSHURL(name), Auth{Identity: key, KnownHosts: []byte(strings.SplitN(string(s.KnownHosts()), " ", 2)[0] + " " + strings.SplitN(string(s2.KnownHosts()), " ", 2)[1])}, ErrHostKey, "SHA256:"},
		"no ssh repo":   {s.SSHURL("nowhere"), Auth{Identity: key, KnownHosts: s.KnownHosts()}, ErrNotFound, "does not appear"},
	}
	p := pool(t, Options{})
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			r := open(t, p, c.url, c.auth)
			_, err := r.Poll(t.Context(), Ref{Branch: "main"})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), r.URL()) {
				t.Errorf("error %v, want %v with %q", err, c.want, c.text)
			}
			if err != nil && strings.Contains(err.Error(), "planted-secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestBranchMovesAsItLikes(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{})
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	first := poll(t, r, Ref{Branch: "main"})
	fetch(t, r, first)
	second := commit(t, s, "main", map[string]string{"apps/a.yaml": "a: 2\n"}, "apps/b.yaml")
	fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	if got := files(t, r, second); got["apps/a.yaml"] != "a: 2\n" || len(got) != 2 {
		t.Errorf("after a commit: %v", got)
	}
	_, err := s.Git(name, "update-ref", "refs/heads/main", first.Hash) // forced back
	must(t, err)
	commit(t, s, "main", map[string]string{"forked": "x"})
	rev := poll(t, r, Ref{Branch: "main"})
	fetch(t, r, rev)
	if got := files(t, r, rev.Hash); got["forked"] != "x" || got["apps/b.yaml"] != "b: 1\n" {
		t.Errorf("after a forced push: %v", got)
	}
	_, err = s.Git(name, "update-ref", "-d", "refs/heads/main")
	must(t, err)
	if _, err := r.Poll(t.Context(), Ref{Branch: "main"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted branch: %v", err)
	}
	if got := files(t, r, second); len(got) != 2 {
		t.Errorf("an older commit is gone: %v", got)
	}
}

func TestPollersShareOneRequest(t *testing.T) {
	s := serve(t, gitserver.Options{})
	p := pool(t, Options{PollShare: time.Minute})
	r := open(t, p, s.URL(name), Auth{})
	_, err := r.Poll(t.Context(), Ref{Branch: "other"})
	if !errors.Is(err, ErrNotFound) { // learns the capabilities
		t.Fatal(err)
	}
	before := s.Requests()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := open(t, p, s.URL(name), Auth{}).Poll(t.Context(), Ref{Branch: "main"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.Requests() - before; n != 1 {
		t.Errorf("20 pollers made %d requests, want 1", n)
	}
	want := commit(t, s, "main", map[string]string{"x": "x"})
	rev, err := r.Poll(Fresh(t.Context()), Ref{Branch: "main"})
	if err != nil || rev.Hash != want {
		t.Errorf("a fresh poll gave %s (%v), want %s", rev, err, want)
	}
}

func TestEveryWaitEnds(t *testing.T) {
	s := serve(t, gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			_, err := w.Write([]byte("fff0")) // and then a byte at a time
			for tick := time.NewTicker(5 * time.Millisecond); err == nil; _, err = w.Write([]byte("x")) {
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		})
	}})
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := r.Poll(ctx, Ref{Branch: "main"}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnreachable) {
		t.Errorf("poll: %v", err)
	}
	if _, err := r.Fetch(ctx, Revision{Hash: strings.Repeat("1", 40)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("fetch: %v", err)
	}
}
