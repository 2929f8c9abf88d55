// Package apptest is a stand-in for GitHub's API, as far as Apps use it: it checks the
// App's own token as GitHub does, and gives tokens of an installation.
package apptest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// API gives tokens to the App 42 for its installation 7, which is that of the
// organization "org" and of the user "anna".
type API struct {
	URL    string
	Token  string       // what it gives
	Tokens atomic.Int64 // how often it gave it
	// Fail answers instead, if it holds a func(http.ResponseWriter).
	Fail atomic.Value

	key *rsa.PrivateKey
}

// Start starts the API for the time of the test.
func Start(t testing.TB) *API {
	t.Helper()
	a := &API{Token: "ghs_" + strings.Repeat("x", 12) + fmt.Sprint(time.Now().UnixNano())}
	var err error
	if a.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v3/orgs/org/installation", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":7}`) })
	mux.HandleFunc("GET /v3/users/anna/installation", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":7}`) })
	mux.HandleFunc("POST /v3/app/installations/7/access_tokens", func(w http.ResponseWriter, _ *http.Request) {
		if fail, ok := a.Fail.Load().(func(http.ResponseWriter)); ok {
			fail(w)
			return
		}
		a.Tokens.Add(1)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":%q,"expires_at":%q}`, a.Token, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.verify(r.Header.Get("Authorization")); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"message":%q}`, err)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	a.URL = srv.URL + "/v3"
	return a
}

// verify checks the App's own token as GitHub does.
func (a *API) verify(header string) error {
	parts := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
	if len(parts) != 3 {
		return fmt.Errorf("no JSON web token: %q", header)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&a.key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		return err
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims struct {
		Iss      string
		Iat, Exp int64
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return err
	}
	if now := time.Now().Unix(); claims.Iss != "42" || claims.Iat > now || claims.Exp < now || claims.Exp-claims.Iat > 600 {
		return fmt.Errorf("claims %s", body)
	}
	return nil
}

// Secret is the content of the App's Secret, with more keys and values.
func (a *API) Secret(more ...string) map[string]string {
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(a.key)})
	data := map[string]string{"githubAppID": "42", "githubAppPrivateKey": string(key), "githubAppBaseURL": a.URL}
	for i := 0; i < len(more); i += 2 {
		data[more[i]] = more[i+1]
	}
	return data
}
