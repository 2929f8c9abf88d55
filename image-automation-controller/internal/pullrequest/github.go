package pullrequest

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/go-github/v82/github"
)

// githubBase is where the API of github.com, or of a server of one's own, is.
func githubBase(host *url.URL) string {
	if host.Hostname() == "github.com" {
		return "https://api.github.com"
	}
	return host.String() + "/api/v3"
}

type gitHub struct {
	client      *github.Client
	owner, name string
}

func openGitHub(o Options, base string, repository []string, client *http.Client) (api, error) {
	at, err := url.Parse(base + "/")
	if err != nil {
		return nil, err
	}
	c := github.NewClient(client).WithAuthToken(o.Token)
	c.BaseURL, c.UserAgent, c.DisableRateLimitCheck = at, userAgent, true
	return &gitHub{client: c, owner: repository[0], name: repository[1]}, nil
}

func (g *gitHub) find(ctx context.Context, head, base string) ([]Request, error) {
	found, _, err := g.client.PullRequests.List(ctx, g.owner, g.name, &github.PullRequestListOptions{
		State: "all", Head: g.owner + ":" + head, Base: base, Sort: "created", Direction: "desc", ListOptions: github.ListOptions{PerPage: perPage},
	})
	var out []Request
	for _, p := range found {
		if p.GetHead().GetRef() == head && p.GetBase().GetRef() == base { // a server that knows no filter sends all
			out = append(out, requestOfGitHub(p))
		}
	}
	return out, err
}

func (g *gitHub) create(ctx context.Context, w Wish) (Request, error) {
	p, _, err := g.client.PullRequests.Create(ctx, g.owner, g.name, &github.NewPullRequest{Title: &w.Title, Body: &w.Body, Head: &w.Head, Base: &w.Base})
	return requestOfGitHub(p), err
}

func (g *gitHub) edit(ctx context.Context, number int64, title, body string) error {
	_, _, err := g.client.PullRequests.Edit(ctx, g.owner, g.name, int(number), &github.PullRequest{Title: &title, Body: &body})
	return err
}

func requestOfGitHub(p *github.PullRequest) Request {
	return Request{
		Number: int64(p.GetNumber()), URL: p.GetHTMLURL(), Title: p.GetTitle(), Body: p.GetBody(),
		Commit: p.GetHead().GetSHA(), Open: p.GetState() == "open",
	}
}
