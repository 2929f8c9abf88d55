package provider

import (
	"testing"
)

func TestIncidentSends(t *testing.T) {
	expectBoth(t, "incident.io", words{"firing", "resolved"},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "title": "kustomization/apps.ns: HealthCheckFailed",
 "status": "firing",
 "deduplication_key": "uid-1",
 "description": "no <way>",
 "metadata": {
  "change_request": "7",
  "kind": "Kustomization",
  "name": "apps",
  "namespace": "ns",
  "reason": "HealthCheckFailed",
  "reportingController": "kustomize-controller",
  "revision": "main@sha1:0123456789012345678901234567890123456789",
  "severity": "error",
  "summary": "staging"
 }
}`},
	)
}

func TestIncidentRefuses(t *testing.T) {
	refuses(t, "incident.io", map[string]func(*Target){"no token": noToken})
}

func TestIncidentKeepsQuietWhileInProgress(t *testing.T) { expect(t, "incident.io", progressing()) }
