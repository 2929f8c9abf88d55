package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// bitbucket keeps build statuses in a repository of Bitbucket Cloud.
// https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/
type bitbucket struct {
	api    *url.URL // of the repository
	header http.Header
	target Target
}

func newBitbucket(t Target) (Sender, error) {
	u, owner, name, err := repositoryOf(t.Address)
	if err != nil {
		return nil, err
	}
	user, password, ok := strings.Cut(t.Token, ":")
	if !ok || user == "" || password == "" {
		return nil, fmt.Errorf("%w: the key \"token\" of the secret is not of the form <user>:<app password>", ErrInvalid)
	}
	api := &url.URL{Scheme: u.Scheme, Host: u.Host}
	if strings.EqualFold(u.Hostname(), "bitbucket.org") {
		api = &url.URL{Scheme: "https", Host: "api.bitbucket.org"}
	}
	b := &bitbucket{api: api.JoinPath("2.0/repositories", owner, name), header: http.Header{}, target: t}
	b.header.Set("Authorization", basic(user, password))
	return newStatusSender(t, b, buildDescription)
}

func (b *bitbucket) current(ctx context.Context, want commitStatus) (bool, bool, error) {
	return currentBuild(ctx, b.target, b.builds(want).JoinPath(shortKey(want.Context)), b.header, want)
}

func (b *bitbucket) set(ctx context.Context, s commitStatus) error {
	_, err := postJSON(ctx, b.target.Client, b.builds(s), buildStatusOf(s, publicAddress(b.target)), b.header)
	return err
}

func (b *bitbucket) builds(s commitStatus) *url.URL {
	return b.api.JoinPath("commit", s.Commit, "statuses/build")
}
