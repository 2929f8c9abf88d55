package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
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
	store               string // where git keeps one that is on this machine
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

// locate finds out what --repo and --path mean. Nothing is started for it, so that a mistake is told at
// once.
func (d *demo) locate(ctx context.Context) (followed, error) {
	if info, err := os.Stat(d.Repo); err == nil && info.IsDir() {
		return d.locateFolder(ctx)
	}
	address := d.Repo
	if m := scpLike.FindStringSubmatch(address); m != nil && !strings.Contains(address, "://") {
		address = "ssh://" + m[1] + m[2] + "/" + m[3]
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return followed{}, errors.New("--repo is neither a directory nor the URL of a repository")
	}
	f := followed{Path: cmp.Or(d.Path, "./"), Interval: remoteInterval, Secret: map[string]string{}}
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
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	if f.Branch, err = defaultBranch(ctx, d.Dir, environment, u.String()); err != nil {
		return f, fmt.Errorf("--repo: %w", err)
	}
	if err := d.lookInto(ctx, environment, u.String(), f.Branch); err != nil {
		return f, err
	}
	if u.Scheme != "ssh" {
		u.User = nil
	}
	f.URL = u.String()
	return f, nil
}

// defaultBranch asks the server which branch HEAD is.
func defaultBranch(ctx context.Context, dir string, environment []string, address string) (string, error) {
	out, err := gitWith(ctx, dir, environment, "ls-remote", "--symref", "--", address, "HEAD")
	if err != nil {
		return "", fmt.Errorf("looking for the default branch: %w", err)
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "ref: refs/heads/"); ok {
			return strings.Fields(name)[0], nil
		}
	}
	return "", errors.New("the repository has no default branch: HEAD names none")
}

// lookInto looks for --path in the last commit of a branch elsewhere. Of that commit only the names are
// fetched, if the server can do that. Where it fails, the source-controller says more.
func (d *demo) lookInto(ctx context.Context, environment []string, address, branch string) error {
	dir := filepath.Join(d.Dir, "tmp", "look")
	if _, err := git(ctx, d.Dir, "init", "-q", "--bare", dir); err != nil {
		return fmt.Errorf("a place to look into the repository: %w", err)
	}
	defer os.RemoveAll(dir)
	_, err := gitWith(ctx, dir, environment, "fetch", "-q", "--depth=1", "--filter=blob:none", "--", address, "refs/heads/"+branch)
	if err != nil {
		return nil //nolint:nilerr // it is a courtesy: the same is looked for, and told, later
	}
	return checkPath(ctx, dir, "FETCH_HEAD", d.Path)
}

// suggestions is how many directories a message names at most.
const suggestions = 8

// checkPath returns nil if commit has a directory at path, and else an error that says what there is. A
// symbolic link or a submodule is left to the controllers.
func checkPath(ctx context.Context, dir, commit, at string) error {
	inside := strings.TrimPrefix(path.Clean("/"+at), "/")
	if inside == "" {
		return nil
	}
	entry, err := git(ctx, dir, "-c", "safe.directory=*", "--literal-pathspecs", "ls-tree", "--full-tree", commit, "--", inside)
	if err != nil {
		return fmt.Errorf("--path %q: %w", at, err)
	}
	if entry != "" && !strings.HasPrefix(entry, "100") {
		return nil
	}
	what := fmt.Sprintf("--path %q is not in the last commit", at)
	if entry != "" {
		what = fmt.Sprintf("--path %q is a file: name the directory it is in", at)
	}
	names, err := git(ctx, dir, "-c", "safe.directory=*", "ls-tree", "--full-tree", "-r", "-z", "--name-only", commit)
	if err != nil {
		return errors.New(what)
	}
	var found []string
	for name := range strings.SplitSeq(names, "\x00") {
		if base := path.Base(name); base == "kustomization.yaml" || base == "kustomization.yml" || base == "Kustomization" {
			found = append(found, strconv.Quote("./"+strings.TrimPrefix(path.Dir(name), ".")))
		}
	}
	switch {
	case len(found) == 0:
		return errors.New(what)
	case len(found) > suggestions:
		return fmt.Errorf("%s; directories with a kustomization file are %s, and %d more", what, strings.Join(found[:suggestions], ", "), len(found)-suggestions)
	}
	return fmt.Errorf("%s; directories with a kustomization file are %s", what, strings.Join(found, ", "))
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

// locateFolder is locate for a repository on this machine.
func (d *demo) locateFolder(ctx context.Context) (followed, error) {
	f := followed{Path: cmp.Or(d.Path, "./"), Interval: localInterval}
	dir, err := filepath.Abs(d.Repo)
	if err != nil {
		return f, err
	}
	if f.store, err = git(ctx, dir, "-c", "safe.directory=*", "rev-parse", "--path-format=absolute", "--git-common-dir"); err != nil {
		return f, fmt.Errorf("--repo: directory %q is not a Git repository: %w", d.Repo, err)
	}
	commit, err := git(ctx, dir, "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return f, fmt.Errorf("--repo: repository %q has no commit: %w", d.Repo, err)
	}
	if f.Branch, err = git(ctx, dir, "-c", "safe.directory=*", "symbolic-ref", "-q", "--short", "HEAD"); err != nil {
		f.Branch, f.Commit = "", commit
	}
	if err := checkPath(ctx, dir, commit, d.Path); err != nil {
		if info, missing := os.Stat(filepath.Join(dir, d.Path)); missing == nil && info.IsDir() {
			return f, fmt.Errorf("--path %q is there, but in no commit: git add and git commit it first", d.Path)
		}
		return f, err
	}
	return f, nil
}

// serve makes the Git server serve a repository on this machine as it is, so that every commit made there
// is seen. It is not copied, and nothing is written to it.
func (d *demo) serve(f followed) (followed, error) {
	if f.store == "" {
		return f, nil // it is served elsewhere
	}
	const name = "repository.git"
	if err := os.Symlink(f.store, filepath.Join(d.Dir, "git", name)); err != nil {
		return f, fmt.Errorf("serving the repository: %w", err)
	}
	f.URL, f.Secret = d.git.URL(name), map[string]string{"username": gitUser, "password": d.hook.token}
	return f, nil
}
