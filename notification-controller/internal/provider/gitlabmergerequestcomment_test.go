package provider

import (
	"net/http"
	"testing"
)

func TestGitLabCommentSends(t *testing.T) {
	expectBoth(t, "gitlabmergerequestcomment", words{"⚠️", "✅"},
		request{method: "GET", uri: "/api/v4/projects/owner%2Fplanted-secret-value/merge_requests/7/notes?page=1&per_page=100", header: map[string]string{"Content-Type": `application/json`, "Private-Token": `planted-secret-value`}, answer: `[]`},
		request{method: "POST", uri: "/api/v4/projects/owner%2Fplanted-secret-value/merge_requests/7/notes", header: map[string]string{"Content-Type": `application/json`, "Private-Token": `planted-secret-value`}, body: "{\n \"body\": \"<!-- flux-pr-comment-key:abcd-1/Kustomization/ns/apps -->\\n## Flux Status\\n\\n⚠️ **kustomization/apps.ns**: HealthCheckFailed\\n\\nno <way>\\n\\nMetadata:\\n* `change_request`: 7\\n* `revision`: main@sha1:0123456789012345678901234567890123456789\\n* `summary`: staging\\n\"\n}"},
	)
}

func TestGitLabCommentRefuses(t *testing.T) {
	refuses(t, "gitlabmergerequestcomment", map[string]func(*Target){"no token": noToken})
}

func TestGitLabCommentIsFoundOnAnyPage(t *testing.T) {
	changes(t, "gitlabmergerequestcomment", http.MethodPut, "/api/v4/projects/owner/"+planted+"/merge_requests/7/notes/150")
}
