package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// azureDevOps keeps commit statuses in a repository of Azure DevOps.
// https://learn.microsoft.com/rest/api/azure/devops/git/statuses
type azureDevOps struct {
	api    *url.URL // of the repository
	target Target
}

type azureStatus struct {
	State       string       `json:"state"`
	Description string       `json:"description"`
	Context     azureContext `json:"context"`
}

type azureContext struct {
	Genre string `json:"genre"`
	Name  string `json:"name"`
}

var azureStates = [...]string{statePending: "pending", stateSuccess: "succeeded", stateFailure: "error"}

const (
	azureDescription = 255
	azureGenre       = "fluxcd" // what the statuses have always been kept under
	azureVersion     = "6.0"
)

func newAzureDevOps(t Target) (Sender, error) {
	u, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	before, name, ok := cutLast(strings.Trim(u.Path, "/"), "_git/")
	before = strings.Trim(before, "/")
	if !ok || before == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: the address is no repository of the form https://<host>/<organization>/<project>/_git/<name>", ErrInvalid)
	}
	if err := t.needToken(); err != nil {
		return nil, err
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host}
	a := &azureDevOps{api: api.JoinPath(before, "_apis/git/repositories", name), target: t}
	return newStatusSender(t, a, azureDescription)
}

func (a *azureDevOps) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	list := a.statuses(want)
	list.RawQuery = url.Values{"api-version": {azureVersion}, "latestOnly": {"true"}, "top": {"1000"}}.Encode()
	var answer struct {
		Value []azureStatus `json:"value"`
	}
	if err := getJSON(ctx, a.target.Client, list, a.header(), &answer); err != nil {
		return false, false, err
	}
	there, same := findStatus(answer.Value, azureStatusOf(want), func(a, b azureStatus) bool { return a.Context == b.Context })
	return there, same, nil
}

func (a *azureDevOps) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, a.target.Client, a.statuses(s), azureStatusOf(s), a.header())
	return err
}

func azureStatusOf(s commitStatus) azureStatus {
	return azureStatus{State: azureStates[s.State], Description: s.Description, Context: azureContext{azureGenre, s.Context}}
}

func (a *azureDevOps) statuses(s commitStatus) *url.URL {
	u := a.api.JoinPath("commits", s.Commit, "statuses")
	u.RawQuery = "api-version=" + azureVersion
	return u
}

// header has a personal access token, whose user is empty.
func (a *azureDevOps) header() http.Header {
	h := http.Header{}
	h.Set("Authorization", basic("", a.target.Token))
	return h
}
