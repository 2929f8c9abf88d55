package provider

import (
	"context"
	"testing"
)

func TestGenericHMACSends(t *testing.T) {
	expectBoth(t, "generic-hmac", words{"6c07e864caa8cf6fb7a2ef06897e169ea9339f420efcf139eb08df0f2e5708fe", "445a418c7af394472e31a19506f3d7d12885fe228b0a4b84b6744bc55a5430f3"},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Content-Type": `application/json`, "Gotk-Component": `kustomize-controller`, "X-Signature": `sha256=6c07e864caa8cf6fb7a2ef06897e169ea9339f420efcf139eb08df0f2e5708fe`}, body: sampleJSON},
	)
}

func TestGenericHMACRefuses(t *testing.T) {
	refuses(t, "generic-hmac", map[string]func(*Target){"no token": noToken})
}

func TestGenericHMACSigns(t *testing.T) {
	to := newSink(t)
	if err := senderTo(t, "generic-hmac", to.URL).Send(context.Background(), sample()); err != nil {
		t.Fatal(err)
	}
	if got, want := to.seen[0].Header.Get("X-Signature"), "sha256="+sign([]byte(to.bodies[0]), planted); got != want {
		t.Errorf("X-Signature %q, want %q", got, want)
	}
}
