package provider

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAlertmanagerSends(t *testing.T) {
	expect(t, "alertmanager", sample(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `[
 {
  "status": "firing",
  "labels": {
   "alertname": "FluxKustomizationHealthcheckfailed",
   "change_request": "7",
   "kind": "Kustomization",
   "name": "apps",
   "namespace": "ns",
   "reason": "HealthCheckFailed",
   "reportingcontroller": "kustomize-controller",
   "revision": "main@sha1:0123456789012345678901234567890123456789",
   "severity": "error"
  },
  "annotations": {
   "message": "no <way>",
   "summary": "staging"
  },
  "startsAt": "2026-01-02T03:04:05Z"
 }
]`},
	)
	expect(t, "alertmanager", recovery(),
		request{method: "GET", uri: "/owner/planted-secret-value?filter=kind%3D%22Kustomization%22&filter=name%3D%22apps%22&filter=namespace%3D%22ns%22&filter=severity%3D%22error%22", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, answer: `[]`},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `[
 {
  "status": "firing",
  "labels": {
   "alertname": "FluxKustomizationReconciliationsucceeded",
   "change_request": "7",
   "kind": "Kustomization",
   "name": "apps",
   "namespace": "ns",
   "reason": "ReconciliationSucceeded",
   "reportingcontroller": "kustomize-controller",
   "revision": "main@sha1:0123456789012345678901234567890123456789",
   "severity": "info"
  },
  "annotations": {
   "message": "fine again",
   "summary": "staging"
  },
  "startsAt": "2026-01-02T03:04:05Z"
 }
]`},
	)
}

func TestAlertmanagerResolves(t *testing.T) {
	const uri = "/owner/" + planted
	firing := `[{"labels":{"alertname":"FluxKustomizationBuildfailed","severity":"error"},"annotations":{"message":"no"},"startsAt":"2026-01-01T00:00:00Z","status":{"state":"active"}}]`
	var sent []alertmanagerAlert
	to := newSink(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, firing) })
	if err := senderTo(t, "alertmanager", to.URL).Send(context.Background(), recovery()); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(to.bodies[1]), &sent); err != nil || len(sent) != 2 || to.seen[1].URL.Path != uri {
		t.Fatalf("sent %s, %v", to.bodies[1], err)
	}
	if a := sent[1]; a.Status != "resolved" || a.EndsAt != "2026-01-02T03:04:05Z" || a.StartsAt != "2026-01-01T00:00:00Z" || a.Labels["alertname"] != "FluxKustomizationBuildfailed" {
		t.Errorf("got %+v", a)
	}
	to = newSink(t)
	if err := senderTo(t, "alertmanager", to.URL).Send(context.Background(), progressing()); err != nil || len(to.seen) != 1 {
		t.Errorf("work in progress: %d requests, %v", len(to.seen), err)
	}
	to = newSink(t, status(403))
	if err := senderTo(t, "alertmanager", to.URL).Send(context.Background(), recovery()); err != nil || len(to.seen) != 2 {
		t.Errorf("a list that is forbidden: %d requests, %v", len(to.seen), err)
	}
}

// TestAlertmanagerCountIsNoLabel asserts that how often an error was said does
// not make another alert of it.
func TestAlertmanagerCountIsNoLabel(t *testing.T) {
	once, often := sample(), sample()
	often.Metadata[FoldedKey] = "12"
	a, b := alertmanagerAlertOf(once), alertmanagerAlertOf(often)
	if diff := cmp.Diff(a.Labels, b.Labels); diff != "" || b.Annotations[FoldedKey] != "12" {
		t.Errorf("labels %s, annotations %v", diff, b.Annotations)
	}
}
