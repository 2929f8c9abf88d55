package pullrequest

import (
	"context"
	"net/http"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

type gitLab struct {
	client  *gitlab.Client
	project string
}

func openGitLab(o Options, base string, repository []string, client *http.Client) (api, error) {
	c, err := gitlab.NewClient(o.Token, gitlab.WithBaseURL(base), gitlab.WithHTTPClient(client), gitlab.WithoutRetries(), gitlab.WithUserAgent(userAgent))
	return &gitLab{client: c, project: strings.Join(repository, "/")}, err
}

func (g *gitLab) find(ctx context.Context, head, base string) ([]Request, error) {
	found, _, err := g.client.MergeRequests.ListProjectMergeRequests(g.project, &gitlab.ListProjectMergeRequestsOptions{
		State: new("all"), SourceBranch: &head, TargetBranch: &base, OrderBy: new("created_at"), ListOptions: gitlab.ListOptions{PerPage: perPage},
	}, gitlab.WithContext(ctx))
	var out []Request
	for _, m := range found {
		if m.SourceBranch == head && m.TargetBranch == base && m.SourceProjectID == m.TargetProjectID {
			out = append(out, requestOfGitLab(m))
		}
	}
	return out, err
}

func (g *gitLab) create(ctx context.Context, w Wish) (Request, error) {
	m, _, err := g.client.MergeRequests.CreateMergeRequest(g.project, &gitlab.CreateMergeRequestOptions{
		Title: &w.Title, Description: &w.Body, SourceBranch: &w.Head, TargetBranch: &w.Base,
	}, gitlab.WithContext(ctx))
	if err != nil {
		return Request{}, err
	}
	return requestOfGitLab(&m.BasicMergeRequest), nil
}

func (g *gitLab) edit(ctx context.Context, number int64, title, body string) error {
	_, _, err := g.client.MergeRequests.UpdateMergeRequest(g.project, number, &gitlab.UpdateMergeRequestOptions{Title: &title, Description: &body}, gitlab.WithContext(ctx))
	return err
}

func requestOfGitLab(m *gitlab.BasicMergeRequest) Request {
	return Request{
		Number: m.IID, URL: m.WebURL, Title: m.Title, Body: m.Description,
		Commit: m.SHA, Open: m.State == "opened" || m.State == "locked",
	}
}
