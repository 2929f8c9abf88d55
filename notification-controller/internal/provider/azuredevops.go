package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/azure"
)

// azureDevOps keeps commit statuses in a repository of Azure DevOps.
// https://learn.microsoft.com/rest/api/azure/devops/git/statuses
type azureDevOps struct {
	api    *url.URL // of the repository
	client *http.Client
	header http.Header
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
	if err := t.Identity.check(t.Token); err != nil {
		return nil, err
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host}
	a := &azureDevOps{api: api.JoinPath(before, "_apis/git/repositories", name), client: t.Client, header: http.Header{}}
	if t.Token != "" {
		a.header.Set("Authorization", basic("", t.Token)) // a personal access token, whose user is empty
	} else if !azureDevOpsHost(u) {
		return nil, fmt.Errorf("%w: without a token in the secret, the address must be at https://dev.azure.com or https://<organization>.visualstudio.com", ErrInvalid)
	} else {
		a.client = withToken(t.Client, t.azureDevOpsToken)
	}
	return newStatusSender(t, a, azureDescription)
}

func (a *azureDevOps) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	list := a.statuses(want)
	list.RawQuery = url.Values{"api-version": {azureVersion}, "latestOnly": {"true"}, "top": {"1000"}}.Encode()
	var answer struct {
		Value []azureStatus `json:"value"`
	}
	if err := getJSON(ctx, a.client, list, a.header, &answer); err != nil {
		return false, false, err
	}
	there, same := findStatus(answer.Value, azureStatusOf(want), func(a, b azureStatus) bool { return a.Context == b.Context })
	return there, same, nil
}

func (a *azureDevOps) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, a.client, a.statuses(s), azureStatusOf(s), a.header)
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

// azureDevOpsHost says whether tokens of an identity may go to the host.
func azureDevOpsHost(u *url.URL) bool {
	at := strings.ToLower(u.Hostname())
	return u.Scheme == "https" && (at == "dev.azure.com" || strings.HasSuffix(at, ".visualstudio.com"))
}

// azureDevOpsToken is an access token of the identity.
func (t *Target) azureDevOpsToken(ctx context.Context) (string, error) {
	token, err := auth.GetAccessToken(ctx, azure.Provider{}, t.options(azure.ScopeDevOps)...)
	if err != nil {
		return "", err
	}
	return token.(*azure.Token).Token, nil
}
