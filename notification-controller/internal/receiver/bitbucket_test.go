package receiver

import (
	"net/http"
	"testing"
)

func TestBitbucket(t *testing.T) {
	table(t, "bitbucket", sender{
		header: func(b string) http.Header {
			return http.Header{"X-Hub-Signature": {hmacOf("sha256", b)}, "X-Event-Key": {"repo:push"}}
		},
		good:  `{"push":{}}`,
		proof: "X-Hub-Signature",
	})
}
