package provider

import (
	"testing"
)

func TestBitbucketSends(t *testing.T) {
	expectBoth(t, "bitbucket", words{"FAILED", "SUCCESSFUL"},
		request{method: "GET", uri: "/2.0/repositories/owner/planted-secret-value/commit/0123456789012345678901234567890123456789/statuses/build/f50d5b76c8042839bac9a9838e3ddab5c97a09b7", header: map[string]string{"Authorization": `Basic bWU6cGxhbnRlZC1zZWNyZXQtdmFsdWU=`, "Content-Type": `application/json`}, code: 404},
		request{method: "POST", uri: "/2.0/repositories/owner/planted-secret-value/commit/0123456789012345678901234567890123456789/statuses/build", header: map[string]string{"Authorization": `Basic bWU6cGxhbnRlZC1zZWNyZXQtdmFsdWU=`, "Content-Type": `application/json`}, body: `{
 "key": "f50d5b76c8042839bac9a9838e3ddab5c97a09b7",
 "state": "FAILED",
 "url": "{base}/owner/planted-secret-value",
 "name": "kustomization/apps/abcd",
 "description": "health check failed"
}`},
	)
}

func TestBitbucketRefuses(t *testing.T) {
	refuses(t, "bitbucket", map[string]func(*Target){"no token": noToken})
}

func TestBitbucketStatuses(t *testing.T) {
	statuses(t, "bitbucket", map[string]string{
		"failure": `{"state":"FAILED","key":"f50d5b76c8042839bac9a9838e3ddab5c97a09b7","description":"health check failed"}`,
		"other":   `{"state":"FAILED","key":"f50d5b76c8042839bac9a9838e3ddab5c97a09b7","description":"something else"}`,
	})
}
