package receiver

import (
	"net/http"
	"testing"
)

func TestGitHub(t *testing.T) {
	table(t, "github", sender{
		header: func(b string) http.Header {
			return http.Header{"X-Hub-Signature-256": {hmacOf("sha256", b)}, "X-Github-Event": {"push"}}
		},
		good:  `{"ref":"refs/heads/main","repository":{"full_name":"a/b"}}`,
		proof: "X-Hub-Signature-256",
		wrong: `{"ref":1}`,
	})
}
