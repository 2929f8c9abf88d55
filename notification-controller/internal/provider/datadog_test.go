package provider

import (
	"testing"
)

func TestDatadogSends(t *testing.T) {
	expectBoth(t, "datadog", words{`"alert_type": "error"`, `"alert_type": "info"`},
		request{method: "POST", uri: "/owner/planted-secret-value/api/v1/events", header: map[string]string{"Content-Type": `application/json`, "Dd-Api-Key": `planted-secret-value`}, body: `{
 "title": "Events from the Kustomization apps/ns",
 "text": "no <way>",
 "tags": [
  "flux_reporting_controller:kustomize-controller",
  "flux_reason:healthcheckfailed",
  "kube_kind:kustomization",
  "kube_name:apps",
  "kube_namespace:ns",
  "change_request:7",
  "revision:main@sha1:0123456789012345678901234567890123456789",
  "summary:staging"
 ],
 "source_type_name": "fluxcd",
 "date_happened": 1767323045,
 "alert_type": "error",
 "aggregation_key": "kustomization/apps.ns"
}`},
	)
}

func TestDatadogRefuses(t *testing.T) {
	refuses(t, "datadog", map[string]func(*Target){"no token": noToken})
}
