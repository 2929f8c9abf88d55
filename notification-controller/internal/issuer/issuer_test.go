package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
	"github.com/go-jose/go-jose/v4"
)

const audience = "notification-controller"

// lab is an issuer, and a Verifier with a clock of its own.
type lab struct {
	t      *testing.T
	server *httptest.Server
	oidc   *oidctest.Server
	asked  atomic.Int32 // requests for keys
	key    *rsa.PrivateKey
	now    time.Time
	v      *Verifier
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, oidc: &oidctest.Server{}, now: time.Unix(1_800_000_000, 0)}
	l.rotate("one")
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			l.asked.Add(1)
		}
		l.oidc.ServeHTTP(w, r)
	}))
	t.Cleanup(l.server.Close)
	l.oidc.SetIssuer(l.server.URL)
	l.v = New(Options{Now: func() time.Time { return l.now }, GoogleKeys: l.server.URL + "/keys", Loopback: true})
	return l
}

// rotate makes a new key the only one that the issuer publishes.
func (l *lab) rotate(id string) {
	l.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		l.t.Fatal(err)
	}
	l.key = key
	l.oidc.PublicKeys = []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: id, Algorithm: "RS256"}}
}

// claims returns those of a good token, changed.
func (l *lab) claims(change map[string]any) string {
	l.t.Helper()
	claims := map[string]any{"iss": l.server.URL, "aud": audience, "sub": "me", "exp": l.now.Add(time.Hour).Unix()}
	for k, v := range change {
		claims[k] = v
	}
	text, err := json.Marshal(claims)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

func (l *lab) signed(id string, claims string) string {
	return oidctest.SignIDToken(l.key, id, "RS256", claims)
}

func (l *lab) verify(token string) (map[string]any, error) {
	return l.v.Verify(l.t.Context(), l.server.URL, audience, token)
}

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestTokens(t *testing.T) {
	l := newLab(t)
	public, err := x509.MarshalPKIXPublicKey(l.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The public key as a shared secret, in the forms that libraries once took.
	shared := func(secret []byte) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithHeader("kid", "one"))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(l.claims(nil)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := l.signed("one", l.claims(nil))
	parts := strings.Split(good, ".")
	for name, tt := range map[string]struct {
		token string
		ok    bool
	}{
		"right":                     {good, true},
		"of several audiences":      {l.signed("one", l.claims(map[string]any{"aud": []string{"x", audience}})), true},
		"without a key's name":      {l.signed("", l.claims(nil)), true},
		"nothing":                   {"", false},
		"no token":                  {"a.b.c", false},
		"too long":                  {l.signed("one", l.claims(map[string]any{"x": strings.Repeat("x", maxToken)})), false},
		"unsigned":                  {b64(`{"alg":"none"}`) + "." + parts[1] + ".", false},
		"unsigned, signature kept":  {b64(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2], false},
		"without a signature":       {parts[0] + "." + parts[1] + ".", false},
		"other claims":              {parts[0] + "." + b64(l.claims(map[string]any{"sub": "you"})) + "." + parts[2], false},
		"by another key":            {oidctest.SignIDToken(other, "one", "RS256", l.claims(nil)), false},
		"by an unknown key":         {oidctest.SignIDToken(other, "two", "RS256", l.claims(nil)), false},
		"by a key of another kind":  {oidctest.SignIDToken(curve, "one", "ES256", l.claims(nil)), false},
		"by an algorithm not named": {oidctest.SignIDToken(l.key, "one", "RS512", l.claims(nil)), false},
		"by the public key, PEM":    {shared(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), false},
		"by the public key, DER":    {shared(public), false},
		"by the modulus":            {shared(l.key.N.Bytes()), false},
		"for another audience":      {l.signed("one", l.claims(map[string]any{"aud": "x"})), false},
		"for nobody":                {l.signed("one", l.claims(map[string]any{"aud": nil})), false},
		"of another issuer":         {l.signed("one", l.claims(map[string]any{"iss": "https://example.com"})), false},
		"expired":                   {l.signed("one", l.claims(map[string]any{"exp": l.now.Add(-time.Second).Unix()})), false},
		"without an end":            {l.signed("one", l.claims(map[string]any{"exp": nil})), false},
		"not valid yet":             {l.signed("one", l.claims(map[string]any{"nbf": l.now.Add(2 * time.Hour).Unix()})), false},
		"claims of wrong types":     {l.signed("one", l.claims(map[string]any{"aud": 1})), false},
		"no claims":                 {l.signed("one", "null"), false},
		"a list":                    {l.signed("one", "[]"), false},
	} {
		t.Run(name, func(t *testing.T) {
			l.now = l.now.Add(fresh) // an answer of an earlier case must not decide this one
			claims, err := l.verify(tt.token)
			if tt.ok && (err != nil || claims["sub"] != "me") {
				t.Errorf("claims %v, %v", claims, err)
			}
			if !tt.ok && !errors.Is(err, ErrToken) {
				t.Errorf("claims %v, error %v, want ErrToken", claims, err)
			}
			if err != nil && tt.token != "" && strings.Contains(err.Error(), parts[1][:20]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func TestKeysAreKeptAndRotated(t *testing.T) {
	l := newLab(t)
	for range 20 {
		if _, err := l.verify(l.signed("one", l.claims(nil))); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("the keys were read %d times for 20 tokens, want once", n)
	}
	old := l.signed("one", l.claims(map[string]any{"exp": l.now.Add(24 * time.Hour).Unix()}))
	l.rotate("two")
	l.now = l.now.Add(fresh)
	if _, err := l.verify(l.signed("two", l.claims(nil))); err != nil {
		t.Errorf("a token by the new key: %v", err)
	}
	for i := range 50 { // somebody makes up the names of keys
		if _, err := l.verify(l.signed(fmt.Sprint("made-up-", i), l.claims(nil))); !errors.Is(err, ErrToken) {
			t.Errorf("a made-up key: %v", err)
		}
	}
	if n := l.asked.Load(); n != 2 {
		t.Errorf("the keys were read %d times, want 2", n)
	}
	l.now = l.now.Add(keep)
	if _, err := l.verify(old); !errors.Is(err, ErrToken) {
		t.Errorf("a token by a key that was withdrawn an hour ago: %v", err)
	}
}

func TestGoogle(t *testing.T) {
	l := newLab(t)
	for issuer, ok := range map[string]bool{"https://accounts.google.com": true, "accounts.google.com": true, l.server.URL: false, "https://example.com": false} {
		_, err := l.v.VerifyGoogle(t.Context(), audience, l.signed("one", l.claims(map[string]any{"iss": issuer})))
		if (err == nil) != ok {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

func TestIssuersThatCannotBeUsed(t *testing.T) {
	hanging := make(chan struct{})
	for name, handler := range map[string]http.HandlerFunc{
		"an error with a secret": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "pl4nted-value", 500) },
		"a redirect":             func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"no document":            func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pl4nted-value") },
		"another issuer":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"issuer":"https://example.com"}`) },
		"a long document":        func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(" ", maxPage+1)) },
		"no answer":              func(http.ResponseWriter, *http.Request) { <-hanging },
		"keys in a file": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"file:///etc/passwd"}`, r.Host)
		},
		"no keys": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://127.0.0.1:1/"}`, r.Host)
		},
		"keys at a link-local address": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://169.254.169.254/latest"}`, r.Host)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			bad := httptest.NewServer(handler)
			t.Cleanup(bad.Close)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if name == "no answer" {
				defer close(hanging)
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
			}
			_, err := l.v.Verify(ctx, bad.URL, audience, l.signed("one", l.claims(map[string]any{"iss": bad.URL})))
			if !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "pl4nted") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLoopbackIsRefused(t *testing.T) {
	l := newLab(t)
	l.v = New(Options{})
	if _, err := l.verify(l.signed("one", l.claims(nil))); !errors.Is(err, ErrUnreachable) || l.asked.Load() > 0 {
		t.Errorf("got %v after %d requests", err, l.asked.Load())
	}
}

func TestIssuersAreBounded(t *testing.T) {
	l := newLab(t)
	for i := range 3 * maxIssuers {
		if _, err := l.v.source(fmt.Sprint(i), func() (*source, error) { return &source{}, nil }); err != nil {
			t.Fatal(err)
		}
		l.now = l.now.Add(time.Second)
	}
	if n := len(l.v.known); n > maxIssuers {
		t.Errorf("%d issuers are remembered, want at most %d", n, maxIssuers)
	}
	if l.v.known[fmt.Sprint(3*maxIssuers-1)] == nil {
		t.Error("the latest is forgotten")
	}
}

func FuzzOf(f *testing.F) {
	f.Add("a." + b64(`{"iss":"https://example.com"}`) + ".c")
	f.Fuzz(func(t *testing.T, token string) {
		issuer, err := Of(token)
		if (err == nil) != (issuer != "") || err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("issuer %q, %v", issuer, err)
		}
	})
}
