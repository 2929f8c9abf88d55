package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// githubDescription is the longest description that GitHub takes.
const githubDescription = 140

// github keeps commit statuses in a repository of GitHub.
// https://docs.github.com/rest/commits/statuses
type github struct {
	api    *url.URL // of the repository
	client *http.Client
	header http.Header
}

// githubStatus is a status of GitHub, and of Gitea, which took it over.
type githubStatus struct {
	State       string `json:"state"`
	Context     string `json:"context"`
	Description string `json:"description"`
}

var githubStates = [...]string{statePending: "pending", stateSuccess: "success", stateFailure: "failure"}

func githubStatusOf(s commitStatus) githubStatus {
	return githubStatus{State: githubStates[s.State], Context: s.Context, Description: s.Description}
}

func newGitHub(t Target) (Sender, error) {
	g, err := newGitHubAPI(t)
	if err != nil {
		return nil, err
	}
	return newStatusSender(t, g, githubDescription)
}

// newGitHubAPI checks what everything at GitHub needs.
func newGitHubAPI(t Target) (*github, error) {
	api, owner, name, err := githubAPI(t.Address)
	if err != nil {
		return nil, err
	}
	g := &github{api: api.JoinPath("repos", owner, name), client: t.Client, header: githubHeader()}
	if t.GitHubApp != nil {
		token, err := appToken(t, api)
		if err != nil {
			return nil, err
		}
		g.client = withToken(t.Client, token)
		return g, nil
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	g.header.Set("Authorization", "Bearer "+t.Token)
	return g, nil
}

// githubAPI maps the address of a repository to that of the API: a host of its
// own for github.com and for GitHub Enterprise Cloud with data residency, a
// path for GitHub Enterprise Server.
func githubAPI(address string) (api *url.URL, owner, name string, err error) {
	u, owner, name, err := repositoryOf(address)
	if err != nil {
		return nil, "", "", err
	}
	if at := strings.ToLower(u.Hostname()); at == "github.com" || strings.HasSuffix(at, ".ghe.com") {
		return &url.URL{Scheme: "https", Host: "api." + at}, owner, name, nil
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/api/v3"}, owner, name, nil
}

// repositoryOf splits an address of the form https://<host>/<owner>/<name>.
func repositoryOf(address string) (u *url.URL, owner, name string, err error) {
	u, err = parseAddress(address)
	if err != nil {
		return nil, "", "", err
	}
	owner, name, ok := strings.Cut(strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git"), "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return nil, "", "", fmt.Errorf("%w: the address is no repository of the form https://<host>/<owner>/<name>", ErrInvalid)
	}
	return u, owner, name, nil
}

// current reads the newest hundred statuses; GitHub keeps at most a thousand
// per commit and context.
func (g *github) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	list := g.api.JoinPath("commits", want.Commit, "statuses")
	list.RawQuery = "per_page=100"
	var statuses []githubStatus // newest first
	if err := getJSON(ctx, g.client, list, g.header, &statuses); err != nil {
		return false, false, err
	}
	there, same := findStatus(statuses, githubStatusOf(want), func(a, b githubStatus) bool { return a.Context == b.Context })
	return there, same, nil
}

// findStatus looks for the first status that is about what want is about.
func findStatus[T comparable](statuses []T, want T, about func(a, b T) bool) (there, same bool) {
	for _, s := range statuses {
		if about(s, want) {
			return true, s == want
		}
	}
	return false, false
}

func (g *github) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, g.client, g.api.JoinPath("statuses", s.Commit), githubStatusOf(s), g.header)
	return err
}

func githubHeader() http.Header {
	h := http.Header{}
	h.Set("Accept", "application/vnd.github+json")
	h.Set("X-GitHub-Api-Version", "2022-11-28")
	return h
}
