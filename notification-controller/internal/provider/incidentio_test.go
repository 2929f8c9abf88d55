package provider

import (
	"testing"
)

func TestIncidentSends(t *testing.T) {
	expect(t, "incident.io", sample(),
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
	expect(t, "incident.io", recovery(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "title": "kustomization/apps.ns: ReconciliationSucceeded",
 "status": "resolved",
 "deduplication_key": "uid-1",
 "description": "fine again",
 "metadata": {
  "change_request": "7",
  "kind": "Kustomization",
  "name": "apps",
  "namespace": "ns",
  "reason": "ReconciliationSucceeded",
  "reportingController": "kustomize-controller",
  "revision": "main@sha1:0123456789012345678901234567890123456789",
  "severity": "info",
  "summary": "staging"
 }
}`},
	)
}

func TestIncidentRefuses(t *testing.T) {
	refuses(t, "incident.io", map[string]func(*Target){"no token": noToken})
}

func TestIncidentKeepsQuietWhileInProgress(t *testing.T) { expect(t, "incident.io", progressing()) }
