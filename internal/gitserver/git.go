package gitserver

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// gitPath is looked up when the program starts, as a test may clear PATH to
// prove that nothing else starts a program.
var gitPath, gitErr = exec.LookPath("git")

var execPath = sync.OnceValues(func() (string, error) {
	out, err := exec.Command(gitPath, "--exec-path").Output()
	return strings.TrimSpace(string(out)), err
})

// identity of the commits that Init, Commit and Tag write.
const (
	AuthorName  = "Weir Test"
	AuthorEmail = "test@weir.dev"
)

// env is the environment of every git process: nothing of the machine's or
// the user's configuration, and the same settings for every repository below
// the root, wherever it came from.
func (s *Server) env() []string {
	env := []string{
		"HOME=" + s.root, "XDG_CONFIG_HOME=" + s.root, "PATH=/usr/bin:/bin",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=" + AuthorName, "GIT_AUTHOR_EMAIL=" + AuthorEmail,
		"GIT_COMMITTER_NAME=" + AuthorName, "GIT_COMMITTER_EMAIL=" + AuthorEmail,
	}
	settings := []string{
		"safe.directory", "*",
		"http.receivepack", "true",
		"uploadpack.allowFilter", "true",
		"uploadpack.allowAnySHA1InWant", strconv.FormatBool(!s.o.TipsOnly),
		"receive.advertisePushOptions", "true",
		"receive.autogc", "false", // no process outlives its request
		"gc.auto", "0",
		"maintenance.auto", "false",
	}
	for i := 0; i < len(settings); i += 2 {
		n := strconv.Itoa(i / 2)
		env = append(env, "GIT_CONFIG_KEY_"+n+"="+settings[i], "GIT_CONFIG_VALUE_"+n+"="+settings[i+1])
	}
	return append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)/2))
}

// Dir is the folder of a repository. An unusable name gives a folder that
// does not exist.
func (s *Server) Dir(name string) string {
	name = filepath.FromSlash(name)
	if !filepath.IsLocal(name) {
		return filepath.Join(s.root, "unusable-repository-name")
	}
	return filepath.Join(s.root, name)
}

// Git runs git in a repository and returns what it printed, trimmed. It is
// for tests: the arguments must not come from outside.
func (s *Server) Git(name string, args ...string) (string, error) {
	return s.run(s.Dir(name), nil, args...)
}

func (s *Server) run(dir string, stdin io.Reader, args ...string) (string, error) {
	out, err := s.output(dir, stdin, args...)
	return strings.TrimSpace(out), err
}

// output is run without the trimming, for content that counts byte by byte.
func (s *Server) output(dir string, stdin io.Reader, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(s.ctx, gitPath, args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr = dir, s.env(), stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
