package receiver

import (
	"net/http"
	"strings"
	"testing"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

func TestSignatureByAnnotation(t *testing.T) {
	signature := http.Header{"X-Signature": {hmacOf("sha256", "{}")}}
	for name := range unsigned {
		for _, tt := range []struct {
			value  string
			header http.Header
			ok     bool
		}{
			{"required", http.Header{}, false},
			{"required", http.Header{"X-Signature": {hmacOf("sha256", "[]")}}, false},
			{"required", http.Header{"Authorization": {testToken}}, false},
			{"required", signature, true},
			{"token", http.Header{}, false},
			{"token", signature, false},
			{"token", http.Header{"Authorization": {"Bearer"}}, false},
			{"token", http.Header{"Authorization": {"Bearer " + testToken + "x"}}, false},
			{"token", http.Header{"Authorization": {"Bearer " + testToken}}, true},
			{"token", http.Header{"Authorization": {"bearer " + testToken}}, true},
			{"token", http.Header{"Authorization": {testToken}}, true},
			{"yes", signature, false},
		} {
			url, c := serve(t, name, sender{edit: func(r *notificationv1.Receiver) {
				r.Annotations = map[string]string{SignatureAnnotation: tt.value}
			}}, Options{})
			code, text := call(t, url, tt.header, strings.NewReader("{}"))
			proved := !strings.Contains(text, ErrSignature.Error()) && code != http.StatusServiceUnavailable
			if proved != tt.ok || !tt.ok && len(c.asked) > 0 {
				t.Errorf("%s, %s, %v: got %d %q", name, tt.value, tt.header, code, text)
			}
		}
	}
}
