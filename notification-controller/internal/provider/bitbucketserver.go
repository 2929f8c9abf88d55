package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// bitbucketServer keeps build statuses in a repository of Bitbucket Server or
// Data Center.
// https://developer.atlassian.com/server/bitbucket/rest/ (builds and deployments)
type bitbucketServer struct {
	api    *url.URL // of the repository
	target Target
}

// buildStatus is a status of Bitbucket, Server and Cloud.
type buildStatus struct {
	Key         string `json:"key"`
	State       string `json:"state"`
	URL         string `json:"url"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

var buildStates = [...]string{statePending: "INPROGRESS", stateSuccess: "SUCCESSFUL", stateFailure: "FAILED"}

// buildDescription is the longest description that Bitbucket takes.
const buildDescription = 255

// buildStatusOf names the address of the repository as the place to look at,
// because Bitbucket wants one.
func buildStatusOf(s commitStatus, address string) buildStatus {
	return buildStatus{Key: shortKey(s.Context), State: buildStates[s.State], URL: address, Name: cut(s.Context, 255), Description: s.Description}
}

func newBitbucketServer(t Target) (Sender, error) {
	u, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	prefix, id, ok := cutLast(strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git"), "scm/")
	project, name, both := strings.Cut(id, "/")
	if !ok || !both || project == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: the address is no repository of the form https://<host>/scm/<project>/<name>.git", ErrInvalid)
	}
	if t.Token == "" && (t.Login == "" || t.Password == "") {
		return nil, fmt.Errorf("%w: the secret has neither a \"token\" nor a \"username\" and a \"password\"", ErrInvalid)
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host}
	b := &bitbucketServer{api: api.JoinPath(prefix, "rest/api/latest/projects", project, "repos", name), target: t}
	return newStatusSender(t, b, buildDescription)
}

// cutLast cuts a path at the last element that is sep, "scm/" say.
func cutLast(path, sep string) (before, after string, found bool) {
	path = "/" + path
	i := strings.LastIndex(path, "/"+sep)
	if i < 0 {
		return "", "", false
	}
	return path[:i], path[i+1+len(sep):], true
}

func (b *bitbucketServer) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	from := b.builds(want)
	from.RawQuery = url.Values{"key": {shortKey(want.Context)}}.Encode()
	return currentBuild(ctx, b.target, from, b.header(), want)
}

// currentBuild reads the one status at an address that answers 404 while
// there is none.
func currentBuild(ctx context.Context, t Target, from *url.URL, h http.Header, want commitStatus) (there, same bool, err error) {
	var s buildStatus
	err = getJSON(ctx, t.Client, from, h, &s)
	if codeOf(err) == http.StatusNotFound {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	w := buildStatusOf(want, t.Address)
	return s.Key == w.Key, s.Key == w.Key && s.State == w.State && s.Description == w.Description, nil
}

func (b *bitbucketServer) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, b.target.Client, b.builds(s), buildStatusOf(s, publicAddress(b.target)), b.header())
	return err
}

func (b *bitbucketServer) builds(s commitStatus) *url.URL {
	return b.api.JoinPath("commits", s.Commit, "builds")
}

func (b *bitbucketServer) header() http.Header {
	h := http.Header{}
	b.target.authorize(h)
	h.Set("X-Atlassian-Token", "no-check")
	return h
}

// publicAddress is the target's address without credentials.
func publicAddress(t Target) string {
	u, err := url.Parse(t.Address)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
