package provider

import (
	"net/http"
	"testing"
)

func TestGiteaCommentSends(t *testing.T) {
	expectBoth(t, "giteapullrequestcomment", words{"⚠️", "✅"},
		request{method: "GET", uri: "/api/v1/repos/owner/planted-secret-value/issues/7/comments", header: map[string]string{"Authorization": `token planted-secret-value`, "Content-Type": `application/json`}, answer: `[]`},
		request{method: "POST", uri: "/api/v1/repos/owner/planted-secret-value/issues/7/comments", header: map[string]string{"Authorization": `token planted-secret-value`, "Content-Type": `application/json`}, body: "{\n \"body\": \"<!-- flux-pr-comment-key:abcd-1/Kustomization/ns/apps -->\\n## Flux Status\\n\\n⚠️ **kustomization/apps.ns**: HealthCheckFailed\\n\\nno <way>\\n\\nMetadata:\\n* `change_request`: 7\\n* `revision`: main@sha1:0123456789012345678901234567890123456789\\n* `summary`: staging\\n\"\n}"},
	)
}

func TestGiteaCommentRefuses(t *testing.T) {
	refuses(t, "giteapullrequestcomment", map[string]func(*Target){"no token": noToken})
}

func TestGiteaCommentIsFoundOnAnyPage(t *testing.T) {
	changes(t, "giteapullrequestcomment", http.MethodPatch, "/api/v1/repos/owner/"+planted+"/issues/comments/150")
}
