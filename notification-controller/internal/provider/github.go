package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/apis/meta"
)

const (
	// githubDescription is the longest description that GitHub takes.
	githubDescription = 140
	// githubStatuses bounds the list of statuses that is read, in bytes: one
	// hundred of them are well below.
	githubStatuses = 1 << 20
)

// github sets the status of the commit that an event is about.
// https://docs.github.com/rest/commits/statuses
type github struct {
	api    *url.URL // of the repository
	target Target
}

type githubStatus struct {
	State       string `json:"state"`
	Context     string `json:"context"`
	Description string `json:"description"`
}

func newGitHub(t Target) (Sender, error) {
	api, err := githubAPI(t.Address)
	if err != nil {
		return nil, err
	}
	if t.GitHubApp {
		return nil, fmt.Errorf("authentication as a GitHub App (key \"githubAppID\") is %w: give the secret a key \"token\"", ErrUnsupported)
	}
	if t.Token == "" {
		return nil, fmt.Errorf("%w: the key \"token\" of the secret is missing or empty", ErrInvalid)
	}
	if t.CommitStatusExpr != "" {
		return nil, fmt.Errorf("spec.commitStatusExpr is %w: remove it to get the default status name", ErrUnsupported)
	}
	return &github{api: api, target: t}, nil
}

// githubAPI maps the address of a repository to that of its API: a host of
// its own for github.com, a path for GitHub Enterprise Server.
func githubAPI(address string) (*url.URL, error) {
	u, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	owner, name, ok := strings.Cut(strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git"), "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: the address is no repository of the form https://<host>/<owner>/<name>", ErrInvalid)
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/api/v3"}
	if strings.EqualFold(u.Hostname(), "github.com") {
		api = &url.URL{Scheme: "https", Host: "api.github.com"}
	}
	return api.JoinPath("repos", owner, name), nil
}

func (g *github) Send(ctx context.Context, event *eventv1.Event) error {
	if event.HasReason(meta.ProgressingReason) {
		return nil
	}
	commit, err := commitOf(event)
	if errors.Is(err, errNoRevision) {
		return nil
	}
	if err != nil {
		return Final(err)
	}
	status := githubStatus{
		State:       "success",
		Context:     statusContext(event, g.target.UID),
		Description: statusDescription(event, githubDescription),
	}
	if event.Severity == eventv1.EventSeverityError {
		status.State = "failure"
	}
	there, err := g.has(ctx, commit, status)
	if err != nil || there {
		return err
	}
	_, err = postJSON(ctx, g.target.Client, g.api.JoinPath("statuses", commit), status, g.header())
	return err
}

// has says whether the latest status of that context is the wanted one
// already; GitHub keeps at most a thousand statuses per commit and context.
func (g *github) has(ctx context.Context, commit string, want githubStatus) (bool, error) {
	list := g.api.JoinPath("commits", commit, "statuses")
	list.RawQuery = "per_page=100"
	answer, err := do(ctx, g.target.Client, http.MethodGet, list, nil, g.header(), githubStatuses)
	if err != nil {
		return false, err
	}
	var statuses []githubStatus // newest first
	if err := json.Unmarshal(answer, &statuses); err != nil {
		return false, &Failure{Err: fmt.Errorf("GET %s: the answer is no list of commit statuses", host(list))}
	}
	for _, s := range statuses {
		if s.Context == want.Context {
			return s == want, nil
		}
	}
	return false, nil
}

func (g *github) header() http.Header {
	h := http.Header{}
	h.Set("Authorization", "Bearer "+g.target.Token)
	h.Set("Accept", "application/vnd.github+json")
	h.Set("X-GitHub-Api-Version", "2022-11-28")
	return h
}
