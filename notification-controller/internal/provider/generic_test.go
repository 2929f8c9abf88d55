package provider

import (
	"context"
	"testing"
)

func TestGenericSends(t *testing.T) {
	expectBoth(t, "generic", nil,
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "Gotk-Component": `kustomize-controller`}, body: `{
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
}`},
	)
}

func TestGenericHeaders(t *testing.T) {
	to := newSink(t)
	target := targetAt("generic", to.URL)
	target.Token = ""
	for _, want := range []string{basic("me", planted), "Custom x"} {
		s, err := newGeneric(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(context.Background(), sample()); err != nil {
			t.Fatal(err)
		}
		if got := to.seen[len(to.seen)-1].Header.Get("Authorization"); got != want {
			t.Errorf("Authorization %q, want %q", got, want)
		}
		target.Headers = map[string]string{"authorization": "Custom x"} // those of the Secret win
	}
}
