package receiver

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const testToken = "a-token-of-thirty-two-characters"

func hmacOf(algorithm, body string) string {
	mac := hmac.New(hashes[algorithm], []byte(testToken))
	mac.Write([]byte(body))
	return algorithm + "=" + hex.EncodeToString(mac.Sum(nil))
}

// sender makes the headers that a type's sender sends with a body.
type sender func(body string) http.Header

var senders = map[string]sender{
	"generic":      func(string) http.Header { return http.Header{} },
	"generic-hmac": func(b string) http.Header { return http.Header{"X-Signature": {hmacOf("sha512", b)}} },
	"github": func(b string) http.Header {
		return http.Header{"X-Hub-Signature-256": {hmacOf("sha256", b)}, "X-Github-Event": {"push"}}
	},
	"gitlab": func(string) http.Header {
		return http.Header{"X-Gitlab-Token": {testToken}, "X-Gitlab-Event": {"Push Hook"}}
	},
}

func call(t *testing.T, kind Type, header http.Header, body string) error {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/hook/x", strings.NewReader(body))
	r.Header = header
	_, err := read(httptest.NewRecorder(), r, kind, []byte(testToken))
	return err
}

func codeOf(err error) int {
	if a, ok := errors.AsType[*answer](err); ok {
		return a.code
	}
	return http.StatusOK
}

func TestTypes(t *testing.T) {
	const good = `{"ref":"refs/heads/main","repository":{"full_name":"a/b"},"object_kind":"push"}`
	for name, kind := range types {
		if kind == nil {
			continue
		}
		headers, ok := senders[name]
		if !ok {
			t.Fatalf("type %q has no test", name)
		}
		signed := name != "generic"                   // somebody has to prove something
		binds := signed && name != "gitlab"           // the proof is of the body
		reads := name == "github" || name == "gitlab" // the body is looked at
		gzip := headers(good)
		gzip.Set("Content-Encoding", "gzip")
		tests := map[string]struct {
			header http.Header
			body   string
			want   int
			refuse bool
		}{
			"right":                   {headers(good), good, 200, false},
			"no signature":            {http.Header{"X-Github-Event": {"push"}, "X-Gitlab-Event": {"Push Hook"}}, good, 400, signed},
			"right over another body": {headers(good), good + " ", 400, binds},
			"empty":                   {headers(""), "", 400, reads},
			"null":                    {headers("null"), "null", 400, reads},
			"list":                    {headers("[]"), "[]", 400, reads},
			"wrong types":             {headers(`{"ref":1}`), `{"ref":1}`, 400, reads},
			"cut off":                 {headers(`{"ref":"a`), `{"ref":"a`, 400, reads},
			"too large":               {headers(good), strings.Repeat("x", maxBody+1), 413, true},
			"gzip":                    {gzip, good, 400, true},
		}
		for what, tt := range tests {
			t.Run(name+"/"+what, func(t *testing.T) {
				want := http.StatusOK
				if tt.refuse {
					want = tt.want
				}
				if got := codeOf(call(t, kind, tt.header, tt.body)); got != want {
					t.Errorf("got %d, want %d", got, want)
				}
			})
		}
		wrong := headers(good)
		for _, h := range []string{"X-Signature", "X-Hub-Signature-256", "X-Gitlab-Token"} {
			if v := wrong.Get(h); v != "" {
				wrong.Set(h, v[:len(v)-1]+"!")
			}
		}
		if err := call(t, kind, wrong, good); signed && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: a wrong signature: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("push", "application/json", `{"ref":"a"}`)
	f.Add("ping", "application/x-www-form-urlencoded", "payload=%7B%7D")
	f.Fuzz(func(t *testing.T, event, contentType, body string) {
		r := Request{Header: http.Header{"X-Github-Event": {event}, "X-Gitlab-Event": {event}, "Content-Type": {contentType}}, Body: []byte(body)}
		for name, kind := range types {
			if kind == nil {
				continue
			}
			if _, err := kind.Read(r); err != nil && !errors.Is(err, ErrPayload) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
