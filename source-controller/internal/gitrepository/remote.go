package gitrepository

import (
	"context"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitrepo"
)

// open returns the mirror of the repository for the credentials that the spec names.
func (r *Reconciler) open(ctx context.Context, repo *sourcev1.GitRepository) (*gitrepo.Repo, gitrepo.Auth, error) {
	auth, err := r.o.Auth.Auth(ctx, repo)
	if err != nil {
		return nil, auth, err
	}
	remote, err := r.o.Mirrors.Open(repo.Spec.URL, auth)
	return remote, auth, err
}

func reference(ref *sourcev1.GitRepositoryRef) gitrepo.Ref {
	if ref == nil {
		return gitrepo.Ref{}
	}
	return gitrepo.Ref{Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, Name: ref.Name, Commit: ref.Commit}
}
