package receiver

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

const gcrAudience, gcrEmail = "https://flux.example.com/hook", "push@project.iam.gserviceaccount.com"

func pushed(message string) string {
	return `{"message":{"data":"` + base64.StdEncoding.EncodeToString([]byte(message)) + `","messageId":"1"},"subscription":"s"}`
}

func gcrClaims(change map[string]any) map[string]any {
	claims := map[string]any{"iss": "https://accounts.google.com", "aud": gcrAudience, "email": gcrEmail, "email_verified": true}
	for k, v := range change {
		claims[k] = v
	}
	return claims
}

func gcrSender(a *authority, claims map[string]any) sender {
	return sender{
		header: func(string) http.Header {
			return http.Header{"Authorization": {"Bearer " + a.token(claims)}, "Content-Type": {"application/json"}}
		},
		good:   pushed(`{"action":"INSERT","digest":"gcr.io/p/a@sha256:0","tag":"gcr.io/p/a:v1"}`),
		wrong:  pushed(`{"action":1}`),
		proof:  "Authorization",
		bare:   true,
		secret: map[string]string{keyEmail: gcrEmail, keyAudience: gcrAudience},
		tokens: a.tokens,
	}
}

func TestGCR(t *testing.T) {
	a := newAuthority(t)
	table(t, "gcr", gcrSender(a, gcrClaims(nil)))
}

func TestGCRTokens(t *testing.T) {
	a := newAuthority(t)
	for name, tt := range map[string]struct {
		claims map[string]any
		secret map[string]string
		want   int
	}{
		"right":              {gcrClaims(nil), nil, 200},
		"the other name":     {gcrClaims(map[string]any{"iss": "accounts.google.com"}), nil, 200},
		"another issuer":     {gcrClaims(map[string]any{"iss": a.server.URL}), nil, 400},
		"another audience":   {gcrClaims(map[string]any{"aud": "x"}), nil, 400},
		"another account":    {gcrClaims(map[string]any{"email": "x@example.com"}), nil, 400},
		"no account":         {gcrClaims(map[string]any{"email": nil}), nil, 400},
		"not verified":       {gcrClaims(map[string]any{"email_verified": false}), nil, 400},
		"verified as text":   {gcrClaims(map[string]any{"email_verified": "true"}), nil, 400},
		"expired":            {gcrClaims(map[string]any{"exp": 1}), nil, 400},
		"nothing to compare": {gcrClaims(nil), map[string]string{keyEmail: ""}, 503},
		"no audience":        {gcrClaims(nil), map[string]string{keyAudience: ""}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			s := gcrSender(a, tt.claims)
			for k, v := range tt.secret {
				s.secret[k] = v
			}
			url, c := serve(t, "gcr", s, Options{})
			if code, text := call(t, url, s.header(""), strings.NewReader(s.good)); code != tt.want || (len(c.asked) == 1) != (tt.want == 200) {
				t.Errorf("got %d %q, want %d", code, text, tt.want)
			}
		})
	}
}

// A filter sees the message, not what is wrapped around it.
func TestGCRFilter(t *testing.T) {
	kind := gcr{}
	c, err := kind.Read(Request{Body: []byte(pushed(`{"tag":"v1"}`))})
	if err != nil {
		t.Fatal(err)
	}
	c.JSON = true
	if req, err := c.fields(); err != nil || req["tag"] != "v1" {
		t.Errorf("filters see %v, %v", req, err)
	}
}
