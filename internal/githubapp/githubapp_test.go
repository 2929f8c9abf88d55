package githubapp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var testKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
})

func secret(kv ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = []byte(kv[i+1])
	}
	return m
}

// app is one whose API is handler.
func app(t *testing.T, id string, handler http.HandlerFunc) *App {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	a, err := Parse(secret(KeyID, id, KeyInstallation, "7", KeyPrivateKey, testKey(), KeyBaseURL, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		secret map[string][]byte
		text   string // of the error; "" for none
	}{
		"id":               {secret(KeyID, "1", KeyInstallation, "2", KeyPrivateKey, testKey()), ""},
		"owner and URL":    {secret(KeyID, " 1\n", KeyOwner, "org", KeyPrivateKey, testKey(), KeyBaseURL, "https://git.test/api/v3/"), ""},
		"nothing":          {nil, KeyID},
		"no installation":  {secret(KeyID, "1", KeyPrivateKey, testKey()), KeyOwner},
		"two of them":      {secret(KeyID, "1", KeyInstallation, "2", KeyOwner, "org", KeyPrivateKey, testKey()), KeyOwner},
		"no key":           {secret(KeyID, "1", KeyInstallation, "2"), KeyPrivateKey},
		"no number":        {secret(KeyID, "one", KeyInstallation, "2", KeyPrivateKey, testKey()), KeyID},
		"no RSA key":       {secret(KeyID, "1", KeyInstallation, "2", KeyPrivateKey, "-----BEGIN X-----\nplanted\n-----END X-----\n"), KeyPrivateKey},
		"no URL":           {secret(KeyID, "1", KeyInstallation, "2", KeyPrivateKey, testKey(), KeyBaseURL, "file:///planted"), KeyBaseURL},
		"a URL with login": {secret(KeyID, "1", KeyInstallation, "2", KeyPrivateKey, testKey(), KeyBaseURL, "https://u:planted@git.test"), KeyBaseURL},
	} {
		_, err := Parse(tt.secret)
		if (err == nil) != (tt.text == "") || err != nil && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "planted")) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.text)
		}
	}
}

// An API of somebody's own can answer as it likes: it ends in an error within bounds.
func TestHostileAPI(t *testing.T) {
	var elsewhere []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		text   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		}, "307"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for _, err := fmt.Fprint(w, `{"token":"`); err == nil; _, err = fmt.Fprint(w, strings.Repeat("x", 1<<16)) {
			}
		}, "bytes"},
		"no JSON":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, KeyBaseURL},
		"no token":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, "no token"},
		"two lines": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"a\r\nX-Evil: 1"}`) }, "no token"},
		"long refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"message":%q}`, strings.Repeat("é", 5000))
		}, "403"},
		"repeated token": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"message":"bad credentials: %s"}`, r.Header.Get("Authorization"))
		}, "bad credentials: Bearer ***"},
	} {
		_, err := app(t, "1", tt.answer).Token(t.Context(), http.DefaultTransport)
		if !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), tt.text) || len(err.Error()) > 2000 {
			t.Errorf("%s: %v, want ErrLogin with %q", name, err, tt.text)
		}
	}
	if len(elsewhere) > 0 {
		t.Errorf("another host saw %q", elsewhere)
	}
}

func TestTokensAreKept(t *testing.T) {
	calls, now := 0, time.Now()
	a := app(t, "1", func(w http.ResponseWriter, _ *http.Request) {
		calls++
		fmt.Fprintf(w, `{"token":"token-%d","expires_at":%q}`, calls, now.Add(time.Hour).UTC().Format(time.RFC3339))
	})
	tokens := NewTokens(TokensOptions{Max: 1, Now: func() time.Time { return now }})
	get := func(want string) {
		t.Helper()
		if got, err := tokens.Get(t.Context(), a, http.DefaultTransport); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	get("token-1")
	now = now.Add(47 * time.Minute)
	get("token-1")
	now = now.Add(2 * time.Minute) // four fifths of an hour are over
	get("token-2")
	now = now.Add(time.Second) // of two that were used at once, either goes
	other := app(t, "2", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"token":"x","expires_at":"2999-01-01T00:00:00Z"}`)
	})
	if _, err := tokens.Get(t.Context(), other, http.DefaultTransport); err != nil {
		t.Error(err)
	}
	if len(tokens.kept) != 1 {
		t.Errorf("%d tokens are kept", len(tokens.kept))
	}
	get("token-3")
}

// An API that hangs costs those who ask it, and nobody else.
func TestSlowAPI(t *testing.T) {
	tokens := NewTokens(TokensOptions{})
	asked := make(chan struct{}, 1)
	slow := app(t, "1", func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if _, err := tokens.Get(ctx, slow, http.DefaultTransport); err == nil {
				t.Error("a token from an API that hangs")
			}
		})
	}
	<-asked
	good := app(t, "2", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"token":"good","expires_at":"2999-01-01T00:00:00Z"}`)
	})
	if got, err := tokens.Get(t.Context(), good, http.DefaultTransport); err != nil || got != "good" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	waiting.Wait()
	if len(tokens.kept) != 1 {
		t.Errorf("%d tokens are kept", len(tokens.kept))
	}
}
