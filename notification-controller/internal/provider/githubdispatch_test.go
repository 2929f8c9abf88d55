package provider

import (
	"testing"
)

func TestGitHubDispatchSends(t *testing.T) {
	expectBoth(t, "githubdispatch", nil,
		request{method: "POST", uri: "/api/v3/repos/owner/planted-secret-value/dispatches", header: map[string]string{"Accept": `application/vnd.github+json`, "Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "X-Github-Api-Version": `2022-11-28`}, body: `{
 "event_type": "Kustomization/apps.ns",
 "client_payload": {
  "involvedObject": {
   "kind": "Kustomization",
   "namespace": "ns",
   "name": "apps",
   "uid": "uid-1"
  },
  "severity": "error",
  "timestamp": "2026-01-02T03:04:05Z",
  "message": "no <way>",
  "reason": "HealthCheckFailed",
  "metadata": {
   "change_request": "7",
   "revision": "main@sha1:0123456789012345678901234567890123456789",
   "summary": "staging"
  },
  "reportingController": "kustomize-controller"
 }
}`},
	)
}

func TestGitHubDispatchRefuses(t *testing.T) {
	refuses(t, "githubdispatch", map[string]func(*Target){"no token": noToken})
}
