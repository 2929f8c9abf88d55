package provider

import (
	"testing"
)

func TestGrafanaSends(t *testing.T) {
	expectBoth(t, "grafana", nil,
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "when": 1767323045,
 "time": 1767323045000,
 "text": "kustomization/apps.ns: no <way>",
 "tags": [
  "flux",
  "kustomize-controller",
  "kind: Kustomization",
  "name: apps",
  "namespace: ns",
  "change_request: 7",
  "revision: main@sha1:0123456789012345678901234567890123456789",
  "summary: staging"
 ]
}`},
	)
}
