package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitrepo"
)

const (
	// maxSubmodules bounds the submodules of one artifact, those of submodules included.
	maxSubmodules = 200
	// maxSubmoduleDepth bounds submodules in submodules.
	maxSubmoduleDepth = 10
)

// errSubmodule says that the content of a submodule cannot be had.
var errSubmodule = errors.New("submodule")

// part is a commit and where its files go.
type part struct {
	at     string // clean, from the root of the artifact; "." is the repository itself
	url    string
	remote *gitrepo.Repo
	commit gitrepo.Commit
}

// modules fetches the submodules of root, and theirs, as far as they can be part of
// the artifact. Each is the commit that the tree above it pins, so that a signature
// of the root covers all.
func (r *Reconciler) modules(ctx context.Context, repo *sourcev1.GitRepository, auth gitrepo.Auth, root part) ([]part, error) {
	parts, level := []part{root}, []part{root}
	for depth := 0; len(level) > 0; depth++ {
		var next []part
		for _, p := range level {
			found, err := r.modulesOf(ctx, repo, auth, p, maxSubmodules-(len(parts)+len(next)-1))
			if err != nil {
				return nil, err
			}
			next = append(next, found...)
		}
		if len(next) > 0 && depth == maxSubmoduleDepth {
			return nil, fmt.Errorf("%w %q: submodules are nested more than %d deep", errSubmodule, next[0].at, maxSubmoduleDepth)
		}
		parts, level = append(parts, next...), next
	}
	return parts, nil
}

// modulesOf fetches the submodules of one part, max of them at most.
func (r *Reconciler) modulesOf(ctx context.Context, repo *sourcev1.GitRepository, auth gitrepo.Auth, of part, max int) ([]part, error) {
	var named []gitrepo.Submodule
	err := of.remote.View(ctx, of.commit.Hash, func(v *gitrepo.View) (err error) {
		named, err = v.Submodules(of.url)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w at %q: %w", errSubmodule, of.at, err)
	}
	var out []part
	for _, m := range named {
		p := part{at: path.Join(of.at, m.Path), url: m.URL}
		if !wantedSparsely(repo.Spec.SparseCheckout, p.at) {
			continue
		}
		if len(out) == max {
			return nil, fmt.Errorf("%w %q: there are more than %d submodules", errSubmodule, p.at, maxSubmodules)
		}
		if err := r.fetchModule(ctx, repo, auth, m, &p); err != nil {
			return nil, fmt.Errorf("%w %q: %w", errSubmodule, p.at, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// fetchModule brings the commit of a submodule. The credentials go to the server of
// the repository itself only.
func (r *Reconciler) fetchModule(ctx context.Context, repo *sourcev1.GitRepository, auth gitrepo.Auth, m gitrepo.Submodule, p *part) (err error) {
	use := auth
	switch {
	case !gitrepo.SameOrigin(repo.Spec.URL, m.URL):
		use = auth.Elsewhere()
	case repo.Spec.Provider == sourcev1.GitProviderAWS: // its credentials are for one address
		same := repo.DeepCopy()
		same.Spec.URL = m.URL
		if use, err = r.o.Auth.Auth(ctx, same); err != nil {
			return err
		}
	}
	if p.remote, err = r.o.Mirrors.Open(m.URL, use); err != nil {
		return err
	}
	revision := gitrepo.Revision{Hash: m.Commit}
	if m.Branch != "" { // where to look for it on servers that give no commit by its hash
		revision.Name = "refs/heads/" + m.Branch
	}
	p.commit, err = p.remote.Fetch(ctx, revision)
	return err
}

// wantedSparsely tells whether what lies at a path can be part of the artifact.
func wantedSparsely(folders []string, at string) bool {
	return len(folders) == 0 || slices.ContainsFunc(folders, func(f string) bool {
		f = cleanFolder(f)
		return within(at, f) || within(f, at)
	})
}
