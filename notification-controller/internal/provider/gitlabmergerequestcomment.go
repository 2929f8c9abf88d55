package provider

import (
	"net/http"
	"net/url"
	"strconv"
)

// newGitLabComment comments on merge requests of GitLab.
// https://docs.gitlab.com/api/notes/#merge-requests
func newGitLabComment(t Target) (Sender, error) {
	g, err := newGitLabAPI(t)
	if err != nil {
		return nil, err
	}
	notes := func(number string) *url.URL { return g.api.JoinPath("merge_requests", number, "notes") }
	return &commenter{
		client: t.Client, header: g.header(), uid: t.UID, change: http.MethodPut, paged: true, list: notes,
		one: func(number string, id int64) *url.URL { return notes(number).JoinPath(strconv.FormatInt(id, 10)) },
	}, nil
}
