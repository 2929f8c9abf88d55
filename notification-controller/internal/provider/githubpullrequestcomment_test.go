package provider

import (
	"net/http"
	"testing"
)

func TestGitHubCommentSends(t *testing.T) {
	expectBoth(t, "githubpullrequestcomment", words{"⚠️", "✅"},
		request{method: "GET", uri: "/api/v3/repos/owner/planted-secret-value/issues/7/comments?page=1&per_page=100", header: map[string]string{"Accept": `application/vnd.github+json`, "Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Github-Api-Version": `2022-11-28`}, answer: `[]`},
		request{method: "POST", uri: "/api/v3/repos/owner/planted-secret-value/issues/7/comments", header: map[string]string{"Accept": `application/vnd.github+json`, "Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Github-Api-Version": `2022-11-28`}, body: "{\n \"body\": \"<!-- flux-pr-comment-key:abcd-1/Kustomization/ns/apps -->\\n## Flux Status\\n\\n⚠️ **kustomization/apps.ns**: HealthCheckFailed\\n\\nno <way>\\n\\nMetadata:\\n* `change_request`: 7\\n* `revision`: main@sha1:0123456789012345678901234567890123456789\\n* `summary`: staging\\n\"\n}"},
	)
}

func TestGitHubCommentRefuses(t *testing.T) {
	refuses(t, "githubpullrequestcomment", map[string]func(*Target){"no token": noToken})
}

func TestGitHubCommentIsFoundOnAnyPage(t *testing.T) {
	changes(t, "githubpullrequestcomment", http.MethodPatch, "/api/v3/repos/owner/"+planted+"/issues/comments/150")
}
