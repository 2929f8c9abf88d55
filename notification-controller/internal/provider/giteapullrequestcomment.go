package provider

import (
	"net/http"
	"net/url"
	"strconv"
)

// newGiteaComment comments on pull requests of Gitea or Forgejo, which list
// all comments at once.
// https://docs.gitea.com/api/ (issue: issueGetComments)
func newGiteaComment(t Target) (Sender, error) {
	g, err := newGiteaAPI(t)
	if err != nil {
		return nil, err
	}
	return &commenter{
		client: t.Client, header: g.header(), uid: t.UID, change: http.MethodPatch,
		list: func(number string) *url.URL { return g.api.JoinPath("issues", number, "comments") },
		one: func(_ string, id int64) *url.URL {
			return g.api.JoinPath("issues/comments", strconv.FormatInt(id, 10))
		},
	}, nil
}
