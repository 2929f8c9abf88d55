package gitrepo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
)

// Ref selects a commit, as GitRepository's spec.ref does: Commit before Name
// before SemVer before Tag before Branch. All empty means branch "master".
type Ref struct {
	Branch string
	Tag    string
	SemVer string // range over the tags
	Name   string // full name such as "refs/pull/1/head", or "HEAD"
	Commit string // 40 hex digits; with Branch, where to find it
}

// Revision is a commit and what it was found by.
type Revision struct {
	Ref  string // as shown to users: "main", "v1.0.0", "refs/pull/1/head"; "" for a bare commit
	Name string // the ref's full name; "" for a bare commit
	Hash string // of the commit, 40 hex digits
	Tag  string // hash of the annotated tag, if Name is one
}

// String is the revision on the wire: "main@sha1:<hash>", "sha1:<hash>" for a
// bare commit.
func (r Revision) String() string {
	if r.Ref == "" {
		return "sha1:" + r.Hash
	}
	return r.Ref + "@sha1:" + r.Hash
}

const defaultBranch = "master"

// target is what a Ref asks the server.
type target struct {
	prefixes []string
	pick     func([]remoteRef) (remoteRef, string, error) // and the name shown
}

// commitRevision answers a Ref that names a commit without asking.
func (r Ref) commitRevision() (Revision, error) {
	if !plumbing.IsHash(r.Commit) {
		return Revision{}, fmt.Errorf("commit %q: %w: write all 40 hex digits", r.Commit, ErrNotFound)
	}
	rev := Revision{Hash: strings.ToLower(r.Commit)}
	if r.Branch != "" {
		if err := checkRefName("refs/heads/" + r.Branch); err != nil {
			return Revision{}, err
		}
		rev.Ref, rev.Name = r.Branch, "refs/heads/"+r.Branch
	}
	return rev, nil
}

func (r Ref) target() (target, error) {
	switch {
	case r.Name != "":
		return exactly(r.Name, r.Name)
	case r.SemVer != "":
		constraint, err := semver.NewConstraint(r.SemVer)
		if err != nil {
			return target{}, fmt.Errorf("semver %q: %w: not a version range: %w", r.SemVer, ErrURL, err)
		}
		return target{[]string{"refs/tags/"}, func(refs []remoteRef) (remoteRef, string, error) {
			return newest(refs, r.SemVer, constraint)
		}}, nil
	case r.Tag != "":
		return exactly("refs/tags/"+r.Tag, r.Tag)
	case r.Branch != "":
		return exactly("refs/heads/"+r.Branch, r.Branch)
	}
	return exactly("refs/heads/"+defaultBranch, defaultBranch)
}

func exactly(name, shown string) (target, error) {
	if err := checkRefName(name); err != nil {
		return target{}, err
	}
	return target{[]string{name}, func(refs []remoteRef) (remoteRef, string, error) {
		i := slices.IndexFunc(refs, func(r remoteRef) bool { return r.Name == name })
		if i < 0 {
			return remoteRef{}, "", fmt.Errorf("ref %q %w in the repository", name, ErrNotFound)
		}
		return refs[i], shown, nil
	}}, nil
}

// newest picks the highest version among the tags that match. Of tags that are
// equal as versions (v1.0.0, 1.0.0, 1.0.0+b) the last by name wins, so that
// the choice never depends on the server's order.
func newest(refs []remoteRef, text string, c *semver.Constraints) (best remoteRef, shown string, err error) {
	var high *semver.Version
	for _, r := range refs {
		name, ok := strings.CutPrefix(r.Name, "refs/tags/")
		if !ok {
			continue
		}
		v, err := semver.NewVersion(name)
		if err != nil || !c.Check(v) {
			continue
		}
		if high == nil || v.GreaterThan(high) || v.Equal(high) && name > shown {
			best, shown, high = r, name, v
		}
	}
	if high == nil {
		return best, "", fmt.Errorf("tag for semver %q %w among %d tags", text, ErrNotFound, len(refs))
	}
	return best, shown, nil
}

// CheckBranch refuses what cannot be the name of a branch. Errors wrap ErrNotFound.
func CheckBranch(name string) error { return checkRefName("refs/heads/" + name) }

// checkRefName refuses what git-check-ref-format(1) does, and with it all that
// could end the line of a request.
func checkRefName(name string) error {
	bad := name == "" || len(name) > 1024 || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.Contains(name, "//") || strings.Contains(name, "@{") ||
		strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.IndexFunc(name, func(r rune) bool { return r < ' ' }) >= 0 ||
		!strings.HasPrefix(name, "refs/") && name != "HEAD"
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("ref %q: %w: not a ref name", name, ErrNotFound)
	}
	return nil
}
