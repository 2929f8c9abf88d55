package provider

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// googleTokenPath is where servers of tests give tokens for service accounts.
const googleTokenPath = "/google/token"

func googleToken(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, `{"access_token":"google-access-token","token_type":"Bearer","expires_in":3600}`)
}

// testKey is an RSA key in PEM.
var testKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
})

// googleKey is the JSON key of a service account.
func googleKey(tokenURI string) string {
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "my-project", "private_key_id": planted, "private_key": testKey(),
		"client_email": "weir@my-project.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokenURI,
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestGooglePubSubSends(t *testing.T) {
	to := newSink(t)
	target := targetAt("googlepubsub", to.URL)
	target.Headers = map[string]string{"team": "ops"}
	s, err := newGooglePubSub(target)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := send(t.Context(), s, sample()); err != nil {
			t.Fatal(err)
		}
	}
	if len(to.seen) != 2 {
		t.Fatalf("%d messages", len(to.seen))
	}
	r := to.seen[0]
	if r.Method != "POST" || r.RequestURI != "/v1/projects/my-project/topics/ops:publish" || r.Header.Get("Authorization") != "Bearer google-access-token" {
		t.Errorf("got %s %s with %v", r.Method, r.RequestURI, r.Header)
	}
	event, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"messages": []any{map[string]any{
		"data": base64.StdEncoding.EncodeToString(event), "attributes": map[string]any{"team": "ops"},
	}}}
	if diff := cmp.Diff(any(want), meaning(to.bodies[0])); diff != "" {
		t.Error(diff)
	}
}

// TestGooglePubSubTokenRefused asserts that a token endpoint that says no, or
// something that is no token, is told of without what it was sent.
func TestGooglePubSubTokenRefused(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"says no":     func(w http.ResponseWriter, r *http.Request) { http.Error(w, "bad key "+planted, http.StatusBadRequest) },
		"no token":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) },
		"long answer": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 8<<20)) },
	} {
		to := newSink(t, answer)
		target := targetAt("googlepubsub", to.URL)
		target.Token = googleKey(to.URL + "/elsewhere")
		s, err := newGooglePubSub(target)
		if err != nil {
			t.Fatal(err)
		}
		err = send(t.Context(), s, sample())
		if err == nil || IsFinal(err) || strings.Contains(err.Error(), planted) || strings.Contains(err.Error(), "elsewhere") || len(err.Error()) > 1000 {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestGooglePubSubRefuses(t *testing.T) {
	refuses(t, "googlepubsub", map[string]func(*Target){
		"no topic":      noChannel,
		"bad topic":     func(t *Target) { t.Channel = "a/../b" },
		"bad project":   func(t *Target) { t.Address = "../x" },
		"no key":        func(t *Target) { t.Token = planted },
		"other account": func(t *Target) { t.Token = `{"type":"external_account","credential_source":{"file":"/etc/passwd"}}` },
		"other token address": func(t *Target) {
			t.Token = googleKey("file:///etc/passwd")
		},
		"key and identity": func(t *Target) { t.Identity.serviceAccount = "robot" },
		"gate is off":      func(t *Target) { t.Token, t.Identity.serviceAccount = "", "robot" },
	})
}
