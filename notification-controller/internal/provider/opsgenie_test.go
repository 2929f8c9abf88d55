package provider

import (
	"context"
	"testing"
)

func TestOpsgenieSends(t *testing.T) {
	expect(t, "opsgenie", sample(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `GenieKey planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "message": "Kustomization/apps",
 "alias": "863695b815634c675e39ba1352babaddcca3129d9be4117382cf4e8536aec33a",
 "description": "no <way>",
 "details": {
  "change_request": "7",
  "revision": "main@sha1:0123456789012345678901234567890123456789",
  "severity": "error",
  "summary": "staging"
 }
}`},
	)
	expect(t, "opsgenie", recovery(),
		request{method: "POST", uri: "/owner/planted-secret-value/863695b815634c675e39ba1352babaddcca3129d9be4117382cf4e8536aec33a/close?identifierType=alias", header: map[string]string{"Authorization": `GenieKey planted-secret-value`, "Content-Type": `application/json`}, body: `{"source": "kustomize-controller", "note": "fine again"}`},
	)
}

func TestOpsgenieRefuses(t *testing.T) {
	refuses(t, "opsgenie", map[string]func(*Target){"no token": noToken})
}

func TestOpsgenieKeepsQuietWhileInProgress(t *testing.T) { expect(t, "opsgenie", progressing()) }

func TestOpsgenieHasNothingToClose(t *testing.T) {
	to := newSink(t, status(404))
	if err := senderTo(t, "opsgenie", to.URL).Send(context.Background(), recovery()); err != nil || len(to.seen) != 1 {
		t.Errorf("%d requests, %v", len(to.seen), err)
	}
}
