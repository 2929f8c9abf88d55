package provider

import (
	"context"
	"net/http"
	"net/url"
)

// gitea keeps commit statuses in a repository of Gitea or Forgejo.
// https://docs.gitea.com/api/ (repository: repoCreateStatus)
type gitea struct {
	api    *url.URL // of the repository
	target Target
}

// giteaStatus is what a list has: status where a request has state.
type giteaStatus struct {
	Status      string `json:"status"`
	Context     string `json:"context"`
	Description string `json:"description"`
}

func newGitea(t Target) (Sender, error) {
	g, err := newGiteaAPI(t)
	if err != nil {
		return nil, err
	}
	return newStatusSender(t, g, githubDescription)
}

func newGiteaAPI(t Target) (*gitea, error) {
	u, owner, name, err := repositoryOf(t.Address)
	if err != nil {
		return nil, err
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host}
	return &gitea{api: api.JoinPath("api/v1/repos", owner, name), target: t}, nil
}

func (g *gitea) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	list := g.api.JoinPath("commits", want.Commit, "statuses")
	list.RawQuery = "sort=recentupdate&limit=50" // its largest page
	var statuses []giteaStatus
	if err := getJSON(ctx, g.target.Client, list, g.header(), &statuses); err != nil {
		return false, false, err
	}
	there, same := findStatus(statuses, giteaStatus{Status: githubStates[want.State], Context: want.Context, Description: want.Description},
		func(a, b giteaStatus) bool { return a.Context == b.Context })
	return there, same, nil
}

func (g *gitea) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, g.target.Client, g.api.JoinPath("statuses", s.Commit), githubStatusOf(s), g.header())
	return err
}

func (g *gitea) header() http.Header {
	h := http.Header{}
	h.Set("Authorization", "token "+g.target.Token)
	return h
}
