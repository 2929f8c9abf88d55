package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// gitlab keeps commit statuses in a project of GitLab.
// https://docs.gitlab.com/api/commits/#set-the-pipeline-status-of-a-commit
type gitlab struct {
	api    *url.URL // of the project
	target Target
}

type gitlabStatus struct {
	State       string `json:"state,omitempty"`
	Status      string `json:"status,omitempty"` // how the list calls the state
	Name        string `json:"name"`
	Description string `json:"description"`
}

var gitlabStates = [...]string{statePending: "pending", stateSuccess: "success", stateFailure: "failed"}

// gitlabDescription is the longest description that GitLab takes.
const gitlabDescription = 255

func newGitLab(t Target) (Sender, error) {
	g, err := newGitLabAPI(t)
	if err != nil {
		return nil, err
	}
	return newStatusSender(t, g, gitlabDescription)
}

func newGitLabAPI(t Target) (*gitlab, error) {
	u, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	project := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	if !strings.Contains(project, "/") {
		return nil, fmt.Errorf("%w: the address is no project of the form https://<host>/<group>/<name>", ErrInvalid)
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host}
	return &gitlab{api: api.JoinPath("api/v4/projects", url.PathEscape(project)), target: t}, nil
}

func (g *gitlab) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	list := g.api.JoinPath("repository/commits", want.Commit, "statuses")
	list.RawQuery = url.Values{"name": {want.Context}, "per_page": {"100"}, "sort": {"desc"}, "order_by": {"id"}}.Encode()
	var statuses []gitlabStatus
	if err := getJSON(ctx, g.target.Client, list, g.header(), &statuses); err != nil {
		return false, false, err
	}
	there, same := findStatus(statuses, gitlabStatus{Status: gitlabStates[want.State], Name: want.Context, Description: want.Description},
		func(a, b gitlabStatus) bool { return a.Name == b.Name })
	return there, same, nil
}

func (g *gitlab) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, g.target.Client, g.api.JoinPath("statuses", s.Commit),
		gitlabStatus{State: gitlabStates[s.State], Name: s.Context, Description: s.Description}, g.header())
	return err
}

func (g *gitlab) header() http.Header {
	h := http.Header{}
	h.Set("PRIVATE-TOKEN", g.target.Token)
	return h
}
