package receiver

import (
	"net/http"
	"testing"
)

func TestGenericHMAC(t *testing.T) {
	table(t, "generic-hmac", sender{
		header: func(b string) http.Header { return http.Header{"X-Signature": {hmacOf("sha512", b)}} },
		good:   `{"a":1}`,
		proof:  "X-Signature",
		blind:  true,
	})
}
