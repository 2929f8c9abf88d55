package provider

import (
	"testing"
)

func TestAzureDevOpsSends(t *testing.T) {
	expectBoth(t, "azuredevops", words{`"error"`, `"succeeded"`},
		request{method: "GET", uri: "/org/owner/_apis/git/repositories/planted-secret-value/commits/0123456789012345678901234567890123456789/statuses?api-version=6.0&latestOnly=true&top=1000", header: map[string]string{"Authorization": `Basic OnBsYW50ZWQtc2VjcmV0LXZhbHVl`, "Content-Type": `application/json`}, answer: `{"value":[]}`},
		request{method: "POST", uri: "/org/owner/_apis/git/repositories/planted-secret-value/commits/0123456789012345678901234567890123456789/statuses?api-version=6.0", header: map[string]string{"Authorization": `Basic OnBsYW50ZWQtc2VjcmV0LXZhbHVl`, "Content-Type": `application/json`}, body: `{"state": "error", "description": "health check failed", "context": {"genre": "fluxcd", "name": "kustomization/apps/abcd"}}`},
	)
}

func TestAzureDevOpsRefuses(t *testing.T) {
	refuses(t, "azuredevops", map[string]func(*Target){"no token": noToken})
}

func TestAzureDevOpsStatuses(t *testing.T) {
	statuses(t, "azuredevops", map[string]string{
		"failure": `{"value":[{"state":"error","context":{"genre":"fluxcd","name":"kustomization/apps/abcd"},"description":"health check failed"}]}`,
		"other":   `{"value":[{"state":"error","context":{"genre":"fluxcd","name":"kustomization/apps/abcd"},"description":"something else"}]}`,
	})
}
