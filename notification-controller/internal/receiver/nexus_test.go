package receiver

import (
	"net/http"
	"strings"
	"testing"
)

func TestNexus(t *testing.T) {
	table(t, "nexus", sender{
		header: func(b string) http.Header {
			return http.Header{"X-Nexus-Webhook-Signature": {strings.TrimPrefix(hmacOf("sha1", b), "sha1=")}}
		},
		good:  `{"action":"CREATED","repositoryName":"r"}`,
		proof: "X-Nexus-Webhook-Signature",
		wrong: `{"action":1}`,
	})
}
