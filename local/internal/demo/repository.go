package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Intervals at which a repository is looked at: one on this machine costs nothing, another's host does.
const (
	localInterval  = "2s"
	remoteInterval = "1m"
)

// followed is a repository that was given, as the GitRepository names it.
type followed struct {
	URL, Branch, Commit string // Commit when there is no branch
	Path                string
	Interval            string
	Secret              map[string]string
}

// values are what repository.yaml wants, as JSON, which is YAML as well.
func (f followed) values() (map[string]string, error) {
	reference := map[string]string{"branch": f.Branch}
	if f.Branch == "" {
		reference = map[string]string{"commit": f.Commit}
	}
	var secretRef *struct {
		Name string `json:"name"`
	}
	secret := map[string][]byte{} // written in base64, as data of a Secret is
	for key, value := range f.Secret {
		secret[key] = []byte(value)
		secretRef = &struct {
			Name string `json:"name"`
		}{ownName}
	}
	values := map[string]string{}
	for key, value := range map[string]any{
		"URL": f.URL, "Path": f.Path, "Interval": f.Interval, "Ref": reference, "Secret": secret, "SecretRef": secretRef,
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		values[key] = string(text)
	}
	return values, nil
}

// scpLike matches user@host:path, which git takes for SSH.
var scpLike = regexp.MustCompile(`^([^/@:]+@)?([^/:]+):([^/].*)$`)

// locate finds out what --repo means: a directory, or the address of a repository.
func (d *demo) locate(ctx context.Context) (followed, error) {
	if info, err := os.Stat(d.Repo); err == nil && info.IsDir() {
		return d.serve(ctx)
	}
	address := d.Repo
	if m := scpLike.FindStringSubmatch(address); m != nil && !strings.Contains(address, "://") {
		address = "ssh://" + m[1] + m[2] + "/" + m[3]
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return followed{}, errors.New("--repo is neither a directory nor the URL of a repository")
	}
	f := followed{Path: d.Path, Interval: remoteInterval, Secret: map[string]string{}}
	var environment []string
	switch u.Scheme {
	case "http", "https":
		if password, ok := u.User.Password(); ok {
			f.Secret["username"], f.Secret["password"] = u.User.Username(), password
		}
	case "ssh":
		if environment, err = d.identity(f.Secret); err != nil {
			return f, err
		}
	default:
		return f, fmt.Errorf("--repo: scheme %q: use a directory, http, https or ssh", u.Scheme)
	}
	out, err := gitWith(ctx, d.Dir, environment, "ls-remote", "--symref", "--", u.String(), "HEAD")
	if err != nil {
		return f, fmt.Errorf("looking for the default branch: %w", err)
	}
	if u.Scheme != "ssh" {
		u.User = nil
	}
	f.URL = u.String()
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "ref: refs/heads/"); ok {
			f.Branch = strings.Fields(name)[0]
			return f, nil
		}
	}
	return f, errors.New("the repository has no default branch: HEAD names none")
}

// identity reads what SSH needs into secret and returns the environment for git.
func (d *demo) identity(secret map[string]string) ([]string, error) {
	if d.Identity == "" || d.KnownHosts == "" {
		return nil, errors.New("--repo by SSH needs --identity and --known-hosts: the files with the private key and the host's key")
	}
	for key, file := range map[string]string{"identity": d.Identity, "known_hosts": d.KnownHosts} {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		secret[key] = string(data)
	}
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	return []string{"GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -i " + quote(d.Identity) +
		" -o UserKnownHostsFile=" + quote(d.KnownHosts)}, nil
}

// serve makes the Git server serve the directory as it is, so that every commit made there is seen. It
// is not copied, and nothing is written to it.
func (d *demo) serve(ctx context.Context) (followed, error) {
	f := followed{Path: d.Path, Interval: localInterval, Secret: map[string]string{"username": gitUser, "password": d.hook.token}}
	dir, err := filepath.Abs(d.Repo)
	if err != nil {
		return f, err
	}
	store, err := git(ctx, dir, "-c", "safe.directory=*", "rev-parse", "--path-format=absolute", "--git-common-dir")
	if err != nil {
		return f, fmt.Errorf("directory %q is not a Git repository: %w", d.Repo, err)
	}
	const name = "repository.git"
	if err := os.Symlink(store, filepath.Join(d.Dir, "git", name)); err != nil {
		return f, fmt.Errorf("serving the repository: %w", err)
	}
	f.URL = d.git.URL(name)
	if f.Branch, err = git(ctx, dir, "-c", "safe.directory=*", "symbolic-ref", "-q", "--short", "HEAD"); err == nil {
		return f, nil
	}
	if f.Commit, err = git(ctx, dir, "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD^{commit}"); err != nil {
		return f, fmt.Errorf("repository %q has no commit: %w", d.Repo, err)
	}
	return f, nil
}
