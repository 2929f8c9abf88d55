package provider

import (
	"testing"
)

func TestBitbucketServerSends(t *testing.T) {
	expectBoth(t, "bitbucketserver", words{"FAILED", "SUCCESSFUL"},
		request{method: "GET", uri: "/git/rest/api/latest/projects/owner/repos/planted-secret-value/commits/0123456789012345678901234567890123456789/builds?key=f50d5b76c8042839bac9a9838e3ddab5c97a09b7", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Atlassian-Token": `no-check`}, code: 404},
		request{method: "POST", uri: "/git/rest/api/latest/projects/owner/repos/planted-secret-value/commits/0123456789012345678901234567890123456789/builds", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Atlassian-Token": `no-check`}, body: `{
 "key": "f50d5b76c8042839bac9a9838e3ddab5c97a09b7",
 "state": "FAILED",
 "url": "{base}/git/scm/owner/planted-secret-value.git",
 "name": "kustomization/apps/abcd",
 "description": "health check failed"
}`},
	)
}

func TestBitbucketServerStatuses(t *testing.T) {
	statuses(t, "bitbucketserver", map[string]string{
		"failure": `{"state":"FAILED","key":"f50d5b76c8042839bac9a9838e3ddab5c97a09b7","description":"health check failed"}`,
		"other":   `{"state":"FAILED","key":"f50d5b76c8042839bac9a9838e3ddab5c97a09b7","description":"something else"}`,
	})
}
