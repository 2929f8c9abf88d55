package remote

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/build"
)

// address is what a URL in a kustomization names: a folder of a Git repository,
// or a file.
type address struct {
	repo string // URL of a Git repository; "" for a file
	ref  string // branch, tag, commit or full name of a ref; "" is the default branch
	dir  string // in the repository
	file *url.URL
}

var (
	commitHash = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
	manifest   = regexp.MustCompile(`(?i)\.(ya?ml|json)$`)
)

// parse reads a URL as kustomize does: [git::]https://host/path/to/repo[.git][//]path?ref=x,
// also as github.com/organisation/repository. What has a ref, names a
// repository's end by .git, _git or //, or is of a host of repositories and no
// manifest is a folder of a repository; all else is a file.
func parse(raw string) (address, error) {
	text, forced := strings.CutPrefix(raw, "git::")
	lower := strings.ToLower(text)
	switch {
	case strings.HasPrefix(lower, "github.com/"), strings.HasPrefix(lower, "gh:"):
		rest := strings.TrimPrefix(text[strings.IndexAny(text, "/:"):], ":")
		text = "https://github.com/" + strings.TrimPrefix(rest, "/")
	case strings.HasPrefix(lower, "https://"), strings.HasPrefix(lower, "http://"):
	default:
		return address{}, fmt.Errorf("%w: only https (and http) addresses are fetched: for Git over SSH use a GitRepository (a local path with ':' or '@' needs a leading \"./\")", build.ErrRemote)
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" { // the error of url.Parse repeats the URL
		return address{}, fmt.Errorf("%w: it is not a URL", build.ErrRemote)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	query := u.Query()
	ref := query.Get("ref")
	if ref == "" {
		ref = query.Get("version")
	}
	repo, dir, marked := split(u.Path)
	switch {
	case forced, marked, ref != "":
	case strings.EqualFold(u.Hostname(), "github.com") && !manifest.MatchString(u.Path) && !strings.Contains(u.Path, "/releases/"):
	default:
		return address{file: u}, nil
	}
	for key := range query {
		if !slices.Contains([]string{"ref", "version", "timeout", "submodules"}, key) {
			return address{}, fmt.Errorf("%w: the parameter %q of the URL is not known; use ref", build.ErrRemote, key)
		}
	}
	if query.Get("submodules") == "true" {
		return address{}, fmt.Errorf("%w: submodules are not fetched; use a GitRepository", build.ErrRemote)
	}
	at := *u
	at.Path, at.RawPath, at.RawQuery, at.Fragment = repo, "", "", ""
	a := address{repo: at.String(), ref: ref, dir: path.Join("/", dir)}
	if strings.HasPrefix(path.Join("x", dir)+"/", "../") {
		return address{}, fmt.Errorf("%w: its path leaves the repository", build.ErrRemote)
	}
	return a, nil
}

// split cuts a path where the repository ends: at //, after .git or the segment
// after _git, else after two segments. marked says that the path itself told.
func split(p string) (repo, dir string, marked bool) {
	if before, after, ok := strings.Cut(strings.TrimPrefix(p, "/"), "//"); ok {
		return "/" + before, after, true
	}
	segments := strings.Split(strings.Trim(p, "/"), "/")
	for i, s := range segments {
		end := 0
		switch {
		case strings.HasSuffix(s, ".git") && s != ".git":
			end = i + 1
		case s == "_git" && i+1 < len(segments):
			end = i + 2
		default:
			continue
		}
		return "/" + path.Join(segments[:end]...), path.Join(segments[end:]...), true
	}
	end := min(2, len(segments))
	return "/" + path.Join(segments[:end]...), path.Join(segments[end:]...), false
}
