package gitserver

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Branch is the default branch of a repository that Init makes.
const Branch = "main"

// Init makes a bare repository with one commit of files, named by slash
// paths, on Branch. No files, no commit: the repository is empty.
func (s *Server) Init(name string, files map[string]string) error {
	if _, err := s.run(s.root, nil, "init", "-q", "--bare", "-b", Branch, s.Dir(name)); err != nil {
		return err
	}
	if len(files) == 0 {
		return nil
	}
	_, err := s.Commit(name, Branch, "first commit", files)
	return err
}

// Commit writes files over the tip of branch, removes those named in remove,
// and moves the branch. A value "" is an empty file. A branch that does not
// exist starts at the default branch. It is no push: OnPush is not called.
func (s *Server) Commit(name, branch, message string, files map[string]string, remove ...string) (hash string, err error) {
	var entries []Entry
	for _, p := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, Entry{Mode: mode(p), Path: p, Content: files[p]})
	}
	return s.CommitEntries(name, branch, message, entries, remove...)
}

// Entry is something to commit that may be no plain file.
type Entry struct {
	Mode    string // "100644", "100755", "120000" for a link or "160000" for a submodule
	Path    string
	Content string // a link's target, a submodule's commit
}

// CommitEntries is Commit with modes.
func (s *Server) CommitEntries(name, branch, message string, entries []Entry, remove ...string) (hash string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, ref := s.Dir(name), "refs/heads/"+branch
	base, err := s.run(dir, nil, "for-each-ref", "--format=%(objectname)", ref)
	if err != nil {
		return "", err
	}
	if base == "" {
		if base, err = s.run(dir, nil, "for-each-ref", "--format=%(objectname)", "refs/heads/"+Branch); err != nil {
			return "", err
		}
	}
	return s.run(dir, importStream(ref, base, message, entries, remove), "fast-import", "--quiet", "--force")
}

// importStream writes one commit in the format of git fast-import, which
// prints its hash.
func importStream(ref, base, message string, entries []Entry, remove []string) io.Reader {
	var b bytes.Buffer
	fmt.Fprintf(&b, "commit %s\nmark :1\ncommitter %s <%s> %d +0000\ndata %d\n%s\n", ref, AuthorName, AuthorEmail, time.Now().Unix(), len(message), message)
	if base != "" {
		fmt.Fprintf(&b, "from %s\n", base)
	}
	for _, p := range remove {
		fmt.Fprintf(&b, "D %s\n", p)
	}
	for _, e := range entries {
		if e.Mode == "160000" {
			fmt.Fprintf(&b, "M %s %s %s\n", e.Mode, e.Content, e.Path)
			continue
		}
		fmt.Fprintf(&b, "M %s inline %s\ndata %d\n%s\n", e.Mode, e.Path, len(e.Content), e.Content)
	}
	b.WriteString("\nget-mark :1\n")
	return &b
}

// mode makes scripts executable, so that a test can tell modes are kept.
func mode(path string) string {
	if strings.HasSuffix(path, ".sh") {
		return "100755"
	}
	return "100644"
}

// Tag names a commit or branch. A message makes the tag annotated.
func (s *Server) Tag(name, tag, target, message string) error {
	args := []string{"tag", "-f", tag, target}
	if message != "" {
		args = []string{"tag", "-f", "-a", "-m", message, tag, target}
	}
	_, err := s.Git(name, args...)
	return err
}

// Head is the hash of the tip of a branch.
func (s *Server) Head(name, branch string) (string, error) {
	return s.Git(name, "rev-parse", "--verify", "-q", "refs/heads/"+branch+"^{commit}")
}

// File is the content of a file at the tip of a branch, byte by byte.
func (s *Server) File(name, branch, path string) (string, error) {
	return s.output(s.Dir(name), nil, "cat-file", "blob", "refs/heads/"+branch+":"+path)
}

// Hook installs a shell script as a server-side hook such as "pre-receive".
func (s *Server) Hook(name, hook, script string) error {
	path := filepath.Join(s.Dir(name), "hooks", hook)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(script), 0o755)
}
