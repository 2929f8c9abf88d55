package receiver

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

const testToken = "a-token-of-thirty-two-characters"

func hmacOf(algorithm, body string) string {
	mac := hmac.New(hashes[algorithm], []byte(testToken))
	mac.Write([]byte(body))
	return algorithm + "=" + hex.EncodeToString(mac.Sum(nil))
}

// sender is what the table needs to know of a type.
type sender struct {
	header func(body string) http.Header // that its sender sends with a body
	good   string                        // a body that it sends
	wrong  string                        // a signed body with a field of a wrong type; "" if no field is read
	proof  string                        // the header that proves the sender; "" if none does
	bare   bool                          // the proof is the token and says nothing of the body
	blind  bool                          // the body is not looked at
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

// table makes calls of all kinds.
func table(t *testing.T, name string, s sender) {
	t.Helper()
	kind := types[name]
	without, wrong, gzip := s.header(s.good), s.header(s.good), s.header(s.good)
	if s.proof != "" {
		without.Del(s.proof)
		v := wrong.Get(s.proof)
		wrong.Set(s.proof, v[:len(v)-1]+"!")
	}
	gzip.Set("Content-Encoding", "gzip")
	tests := map[string]struct {
		header  http.Header
		body    string
		want    int
		refused bool
	}{
		"right":                   {s.header(s.good), s.good, 400, false},
		"no proof":                {without, s.good, 400, s.proof != ""},
		"wrong proof":             {wrong, s.good, 400, s.proof != ""},
		"right over another body": {s.header(s.good), s.good + " ", 400, s.proof != "" && !s.bare},
		"empty":                   {s.header(""), "", 400, !s.blind},
		"null":                    {s.header("null"), "null", 400, !s.blind},
		"list":                    {s.header("[]"), "[]", 400, !s.blind},
		"wrong types":             {s.header(s.wrong), s.wrong, 400, s.wrong != "" || !s.blind},
		"cut off":                 {s.header(`{"ref":"a`), `{"ref":"a`, 400, !s.blind},
		"too large":               {s.header(s.good), strings.Repeat("x", maxBody+1), 413, true},
		"gzip":                    {gzip, s.good, 400, true},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			want := http.StatusOK
			if tt.refused {
				want = tt.want
			}
			if got := codeOf(call(t, kind, tt.header, tt.body)); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}

func TestEveryTypeHasATest(t *testing.T) {
	for name, kind := range types {
		if _, err := os.Stat(strings.ReplaceAll(name, "-", "") + "_test.go"); kind != nil && err != nil {
			t.Errorf("type %q: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("push", "application/json", `{"ref":"a"}`)
	f.Add("ping", "application/x-www-form-urlencoded", "payload=%7B%7D")
	f.Fuzz(func(t *testing.T, event, contentType, body string) {
		r := Request{Header: http.Header{"X-Github-Event": {event}, "X-Gitlab-Event": {event}, "X-Event-Key": {event}, "Ce-Type": {event}, "Content-Type": {contentType}}, Body: []byte(body)}
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
