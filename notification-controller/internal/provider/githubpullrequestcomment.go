package provider

import (
	"net/http"
	"net/url"
	"strconv"
)

// newGitHubComment comments on pull requests of GitHub.
// https://docs.github.com/rest/issues/comments
func newGitHubComment(t Target) (Sender, error) {
	g, err := newGitHubAPI(t)
	if err != nil {
		return nil, err
	}
	return &commenter{
		client: g.client, header: g.header, uid: t.UID, change: http.MethodPatch, paged: true,
		list: func(number string) *url.URL { return g.api.JoinPath("issues", number, "comments") },
		one: func(_ string, id int64) *url.URL {
			return g.api.JoinPath("issues/comments", strconv.FormatInt(id, 10))
		},
	}, nil
}
