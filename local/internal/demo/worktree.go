package demo

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/secrets"
)

const (
	gitUser           = "demo"
	branch            = "main" // of the example
	exampleRepository = "shop.git"
)

//go:embed example
var exampleFiles embed.FS

// exampleContent is the example repository, with images from the registry at host.
func exampleContent(host string) (map[string]string, error) {
	files := map[string]string{}
	err := fs.WalkDir(exampleFiles, "example", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := exampleFiles.ReadFile(path)
		files[strings.TrimPrefix(path, "example/")] = strings.ReplaceAll(string(data), "REGISTRY", host)
		return err
	})
	return files, err
}

// worktree is a clone of the example in which commits are made as anybody makes them, with git.
type worktree struct{ dir string }

// clone makes the work tree. The remote's URL holds the password, so that the user can push from there.
func (d *demo) clone(ctx context.Context) (*worktree, error) {
	remote, err := url.Parse(d.git.URL(exampleRepository))
	if err != nil {
		return nil, err
	}
	remote.User = url.UserPassword(gitUser, d.hook.token)
	w := &worktree{dir: filepath.Join(d.Dir, "shop")}
	if _, err := git(ctx, d.Dir, "clone", "-q", "-b", branch, remote.String(), w.dir); err != nil {
		return nil, err
	}
	for _, setting := range [][2]string{{"user.name", "Demo"}, {"user.email", "demo@example.com"}, {"pull.ff", "only"}} {
		if _, err := git(ctx, w.dir, "config", setting[0], setting[1]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// edit replaces text in a file of the work tree, which has to be there.
func (w *worktree) edit(file, old, replacement string) error {
	path := filepath.Join(w.dir, filepath.FromSlash(file))
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), old) {
		return fmt.Errorf("file %q of the example does not contain %q", file, old)
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, replacement)), 0o600)
}

// git runs git with fixed arguments of this program, free of the user's configuration.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	return gitWith(ctx, dir, nil, args...)
}

func gitWith(ctx context.Context, dir string, environment []string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &complaint
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	cmd.Env = append(cmd.Env, environment...)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git: %w: %s", err, strings.TrimSpace(secrets.Redact(complaint.String())))
	}
	return strings.TrimSpace(out.String()), nil
}

// push commits what was edited, pushes it, and returns the commit and when the server had it.
func (d *demo) push(ctx context.Context, w *worktree, message string) (hash string, at time.Time, err error) {
	if _, err := git(ctx, w.dir, "commit", "-q", "-a", "-m", message); err != nil {
		return "", at, err
	}
	return d.send(ctx, w)
}

// revert does what its name says to the last commit and pushes.
func (d *demo) revert(ctx context.Context, w *worktree) (hash string, at time.Time, err error) {
	if _, err := git(ctx, w.dir, "revert", "--no-edit", "HEAD"); err != nil {
		return "", at, err
	}
	return d.send(ctx, w)
}

func (d *demo) send(ctx context.Context, w *worktree) (hash string, at time.Time, err error) {
	if _, err := git(ctx, w.dir, "push", "-q", "origin", branch); err != nil {
		return "", at, err
	}
	hash, err = git(ctx, w.dir, "rev-parse", "HEAD")
	d.mu.Lock()
	defer d.mu.Unlock()
	return hash, d.pushed, err
}
