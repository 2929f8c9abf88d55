package pullrequest

import (
	"context"
	"net/http"

	"code.gitea.io/sdk/gitea"
)

// maxGiteaPages bounds the search: its API lists pull requests of all branches.
const maxGiteaPages = 4

// giteaHost makes a client for each call, because the library keeps the context
// in the client.
type giteaHost struct {
	connect     func(ctx context.Context) (*gitea.Client, error)
	owner, name string
}

func openGitea(o Options, base string, repository []string, client *http.Client) (api, error) {
	connect := func(ctx context.Context) (*gitea.Client, error) {
		return gitea.NewClient(base, gitea.SetToken(o.Token), gitea.SetHTTPClient(client), gitea.SetContext(ctx),
			gitea.SetGiteaVersion(""), gitea.SetUserAgent(userAgent))
	}
	return &giteaHost{connect: connect, owner: repository[0], name: repository[1]}, nil
}

func (g *giteaHost) find(ctx context.Context, head, base string) ([]Request, error) {
	c, err := g.connect(ctx)
	if err != nil {
		return nil, err
	}
	var out []Request
	for page := 1; page <= maxGiteaPages; page++ {
		found, _, err := c.ListRepoPullRequests(g.owner, g.name, gitea.ListPullRequestsOptions{
			State: gitea.StateAll, Sort: "recentupdate", ListOptions: gitea.ListOptions{Page: page, PageSize: perPage},
		})
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			if p.Head != nil && p.Base != nil && p.Head.Ref == head && p.Base.Ref == base && p.Head.RepoID == p.Base.RepoID {
				out = append(out, requestOfGitea(p))
			}
		}
		if len(found) < perPage {
			break
		}
	}
	return out, nil
}

func (g *giteaHost) create(ctx context.Context, w Wish) (Request, error) {
	c, err := g.connect(ctx)
	if err != nil {
		return Request{}, err
	}
	p, _, err := c.CreatePullRequest(g.owner, g.name, gitea.CreatePullRequestOption{Head: w.Head, Base: w.Base, Title: w.Title, Body: w.Body})
	if err != nil {
		return Request{}, err
	}
	return requestOfGitea(p), nil
}

func (g *giteaHost) edit(ctx context.Context, number int64, title, body string) error {
	c, err := g.connect(ctx)
	if err != nil {
		return err
	}
	_, _, err = c.EditPullRequest(g.owner, g.name, number, gitea.EditPullRequestOption{Title: title, Body: &body})
	return err
}

func requestOfGitea(p *gitea.PullRequest) Request {
	r := Request{Number: p.Index, URL: p.HTMLURL, Title: p.Title, Body: p.Body, Open: p.State == gitea.StateOpen}
	if p.Head != nil {
		r.Commit = p.Head.Sha
	}
	return r
}
