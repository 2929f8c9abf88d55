package provider

import (
	"context"
	"testing"
)

func TestGenericSends(t *testing.T) {
	expectBoth(t, "generic", nil,
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`, "Gotk-Component": `kustomize-controller`}, body: sampleJSON},
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
