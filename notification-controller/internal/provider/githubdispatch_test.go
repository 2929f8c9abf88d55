package provider

import (
	"testing"
)

func TestGitHubDispatchSends(t *testing.T) {
	expectBoth(t, "githubdispatch", nil,
		request{method: "POST", uri: "/api/v3/repos/owner/planted-secret-value/dispatches", header: map[string]string{"Accept": `application/vnd.github+json`, "Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Github-Api-Version": `2022-11-28`}, body: `{"event_type": "Kustomization/apps.ns", "client_payload": ` + sampleJSON + `}`},
	)
}

func TestGitHubDispatchRefuses(t *testing.T) {
	refuses(t, "githubdispatch", map[string]func(*Target){"no token": noToken})
}
