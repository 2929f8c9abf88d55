package gitserver

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Init("team/fleet", map[string]string{"apps/a.yaml": "a: 1\n", "run.sh": "#!/bin/sh\n"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// git runs the machine's git as a user would.
func git(t *testing.T, dir string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(gitPath, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=u", "GIT_AUTHOR_EMAIL=u@x", "GIT_COMMITTER_NAME=u", "GIT_COMMITTER_EMAIL=u@x"}, env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestCloneAndPush(t *testing.T) {
	key, authorized, err := NewIdentity("")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		p := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	cases := map[string]struct {
		o   Options
		url func(*Server) string
		env func(*Server) []string
	}{
		"http":  {url: func(s *Server) string { return s.URL("team/fleet") }},
		"basic": {o: Options{Username: "u", Password: "p"}, url: func(s *Server) string { return strings.Replace(s.URL("team/fleet"), "://", "://u:p@", 1) }},
		"https": {o: Options{TLS: true}, url: func(s *Server) string { return s.URL("team/fleet") },
			env: func(s *Server) []string { return []string{"GIT_SSL_CAINFO=" + write("ca.crt", s.CA())} }},
		"ssh": {o: Options{SSH: true, AuthorizedKeys: [][]byte{authorized}}, url: func(s *Server) string { return s.SSHURL("team/fleet") },
			env: func(s *Server) []string {
				return []string{"GIT_SSH_COMMAND=ssh -F none -i " + write("id", key) + " -o UserKnownHostsFile=" + write("known_hosts", s.KnownHosts())}
			}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath("ssh"); name == "ssh" && err != nil {
				t.Skip("needs the ssh command; gitrepo's tests cover this server with their own client")
			}
			pushed := make(chan string, 1)
			c.o.OnPush = func(repo string) { pushed <- repo }
			s := start(t, c.o)
			var env []string
			if c.env != nil {
				env = c.env(s)
			}
			dir := filepath.Join(t.TempDir(), "clone")
			if out, err := git(t, "", env, "clone", "-q", c.url(s), dir); err != nil {
				t.Fatalf("clone: %v\n%s", err, out)
			}
			if err := os.WriteFile(filepath.Join(dir, "b.yaml"), []byte("b"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"add", "."}, {"commit", "-q", "-m", "second"}, {"push", "-q", "origin", "HEAD:main"}} {
				if out, err := git(t, dir, env, args...); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
			if repo := <-pushed; repo != "team/fleet" {
				t.Errorf("OnPush(%q)", repo)
			}
			want, _ := git(t, dir, nil, "rev-parse", "HEAD")
			if got, err := s.Head("team/fleet", Branch); err != nil || got != want {
				t.Errorf("head %s, want %s (%v)", got, want, err)
			}
			if s.Requests() == 0 || s.BytesOut() == 0 || s.BytesIn() == 0 {
				t.Errorf("nothing counted: %d requests, %d out, %d in", s.Requests(), s.BytesOut(), s.BytesIn())
			}
		})
	}
}

func TestCommit(t *testing.T) {
	s := start(t, Options{})
	hash, err := s.Commit("team/fleet", Branch, "second", map[string]string{"new dir/é.yaml": "x", "empty": ""}, "apps/a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if head, _ := s.Head("team/fleet", Branch); head != hash {
		t.Errorf("head %s, want %s", head, hash)
	}
	files, err := s.Git("team/fleet", "-c", "core.quotepath=off", "ls-tree", "-r", "--name-only", Branch)
	if want := "empty\nnew dir/é.yaml\nrun.sh"; err != nil || files != want {
		t.Errorf("files %q, want %q (%v)", files, want, err)
	}
	if _, err := s.Commit("team/fleet", "topic", "on a branch", map[string]string{"t": "t"}); err != nil {
		t.Fatal(err)
	}
	if base, _ := s.Git("team/fleet", "rev-parse", "topic~1"); base != hash {
		t.Errorf("a new branch starts at %s, want the default branch %s", base, hash)
	}
	if err := s.Tag("team/fleet", "v1.0.0", Branch, "release"); err != nil {
		t.Fatal(err)
	}
	if kind, _ := s.Git("team/fleet", "cat-file", "-t", "v1.0.0"); kind != "tag" {
		t.Errorf("v1.0.0 is a %s", kind)
	}
}

func TestCredentials(t *testing.T) {
	s := start(t, Options{Username: "u", Password: "p", Bearer: "b"})
	for header, want := range map[string]int{"": 401, "Bearer b": 200, "Bearer x": 401, "Basic dTpw": 200, "Basic dTp4": 401} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL("team/fleet")+"/info/refs?service=git-upload-pack", nil)
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", header, resp.StatusCode, want)
		}
	}
}
