package provider

import (
	"testing"
)

func TestGiteaSends(t *testing.T) {
	expectBoth(t, "gitea", words{"failure", "success"},
		request{method: "GET", uri: "/api/v1/repos/owner/planted-secret-value/commits/0123456789012345678901234567890123456789/statuses?sort=recentupdate&limit=50", header: map[string]string{"Authorization": `token planted-secret-value`, "Content-Type": `application/json`}, answer: `[]`},
		request{method: "POST", uri: "/api/v1/repos/owner/planted-secret-value/statuses/0123456789012345678901234567890123456789", header: map[string]string{"Authorization": `token planted-secret-value`, "Content-Type": `application/json`}, body: `{"state": "failure", "context": "kustomization/apps/abcd", "description": "health check failed"}`},
	)
}

func TestGiteaRefuses(t *testing.T) {
	refuses(t, "gitea", map[string]func(*Target){"no token": noToken})
}

func TestGiteaStatuses(t *testing.T) {
	statuses(t, "gitea", map[string]string{
		"failure": `[{"status":"failure","context":"kustomization/apps/abcd","description":"health check failed"}]`,
		"other":   `[{"status":"failure","context":"kustomization/apps/abcd","description":"something else"}]`,
	})
}
