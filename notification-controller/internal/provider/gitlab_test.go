package provider

import (
	"testing"
)

func TestGitLabSends(t *testing.T) {
	expectBoth(t, "gitlab", words{`"failed"`, `"success"`},
		request{method: "GET", uri: "/api/v4/projects/owner%2Fplanted-secret-value/repository/commits/0123456789012345678901234567890123456789/statuses?name=kustomization%2Fapps%2Fabcd&order_by=id&per_page=100&sort=desc", header: map[string]string{"Content-Type": `application/json`, "Private-Token": `planted-secret-value`}, answer: `[]`},
		request{method: "POST", uri: "/api/v4/projects/owner%2Fplanted-secret-value/statuses/0123456789012345678901234567890123456789", header: map[string]string{"Content-Type": `application/json`, "Private-Token": `planted-secret-value`}, body: `{"state": "failed", "name": "kustomization/apps/abcd", "description": "health check failed"}`},
	)
}

func TestGitLabRefuses(t *testing.T) {
	refuses(t, "gitlab", map[string]func(*Target){"no token": noToken})
}

func TestGitLabStatuses(t *testing.T) {
	statuses(t, "gitlab", map[string]string{
		"failure": `[{"status":"failed","name":"kustomization/apps/abcd","description":"health check failed"}]`,
		"other":   `[{"status":"failed","name":"kustomization/apps/abcd","description":"something else"}]`,
	})
}
