package provider

import (
	"context"
	"testing"
)

func TestPagerDutySends(t *testing.T) {
	expect(t, "pagerduty", sample(),
		request{method: "POST", uri: "/v2/enqueue", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "routing_key": "ops",
 "event_action": "trigger",
 "dedup_key": "uid-1",
 "client": "weir",
 "payload": {
  "summary": "kustomization/apps.ns: no <way>",
  "source": "flux kustomization/apps.ns",
  "severity": "error",
  "timestamp": "2026-01-02T03:04:05Z",
  "component": "apps",
  "group": "Kustomization",
  "class": "HealthCheckFailed",
  "custom_details": {
   "change_request": "7",
   "kind": "Kustomization",
   "message": "no <way>",
   "name": "apps",
   "namespace": "ns",
   "reason": "HealthCheckFailed",
   "revision": "main@sha1:0123456789012345678901234567890123456789",
   "summary": "staging"
  }
 }
}`},
	)
	expect(t, "pagerduty", recovery(),
		request{method: "POST", uri: "/v2/enqueue", header: map[string]string{"Content-Type": `application/json`}, body: `{"routing_key": "ops", "event_action": "resolve", "dedup_key": "uid-1"}`},
		request{method: "POST", uri: "/v2/change/enqueue", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "routing_key": "ops",
 "payload": {
  "summary": "kustomization/apps.ns: fine again",
  "source": "flux kustomization/apps.ns",
  "timestamp": "2026-01-02T03:04:05Z",
  "custom_details": {
   "change_request": "7",
   "kind": "Kustomization",
   "message": "fine again",
   "name": "apps",
   "namespace": "ns",
   "reason": "ReconciliationSucceeded",
   "revision": "main@sha1:0123456789012345678901234567890123456789",
   "summary": "staging"
  }
 }
}`},
	)
}

func TestPagerDutyRefuses(t *testing.T) {
	refuses(t, "pagerduty", map[string]func(*Target){"no channel": noChannel})
}

func TestPagerDutyResolvesNothingWhileInProgress(t *testing.T) {
	to := newSink(t)
	if err := senderTo(t, "pagerduty", to.URL).Send(context.Background(), progressing()); err != nil || len(to.seen) != 1 || to.seen[0].URL.Path != "/v2/change/enqueue" {
		t.Errorf("%d requests, %v", len(to.seen), err)
	}
}
