package provider

import (
	"errors"
	"net/url"
	"testing"
)

func TestGitHubSends(t *testing.T) {
	expectBoth(t, "github", words{"failure", "success"},
		request{method: "GET", uri: "/api/v3/repos/owner/planted-secret-value/commits/0123456789012345678901234567890123456789/statuses?per_page=100", header: map[string]string{"Accept": `application/vnd.github+json`, "Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Github-Api-Version": `2022-11-28`}, answer: `[]`},
		request{method: "POST", uri: "/api/v3/repos/owner/planted-secret-value/statuses/0123456789012345678901234567890123456789", header: map[string]string{"Accept": `application/vnd.github+json`, "Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Github-Api-Version": `2022-11-28`}, body: `{"state": "failure", "context": "kustomization/apps/abcd", "description": "health check failed"}`},
	)
}

func TestGitHubRefuses(t *testing.T) {
	refuses(t, "github", map[string]func(*Target){"no token": noToken})
}

func TestGitHubStatuses(t *testing.T) {
	statuses(t, "github", map[string]string{
		"failure": `[{"state":"failure","context":"kustomization/apps/abcd","description":"health check failed"}]`,
		"other":   `[{"state":"failure","context":"kustomization/apps/abcd","description":"something else"}]`,
	})
}

func TestGitHubAPI(t *testing.T) {
	tests := map[string]string{
		"https://github.com/o/r":        "https://api.github.com/repos/o/r",
		"https://github.com/o/r.git":    "https://api.github.com/repos/o/r",
		"https://ghe.example.com/o/r":   "https://ghe.example.com/api/v3/repos/o/r",
		"https://ghe.example.com/o/r/x": "",
		"git@github.com:o/r":            "",
		"https://github.com/o":          "",
	}
	for address, want := range tests {
		got, owner, name, err := githubAPI(address)
		if want == "" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", address, err)
			}
			continue
		}
		if u, _ := url.Parse(want); err != nil || got.JoinPath("repos", owner, name).String() != u.String() {
			t.Errorf("%s: got %v, %v", address, got, err)
		}
	}
}
