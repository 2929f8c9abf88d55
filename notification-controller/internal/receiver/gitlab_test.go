package receiver

import (
	"net/http"
	"testing"
)

func TestGitLab(t *testing.T) {
	table(t, "gitlab", sender{
		header: func(_ string) http.Header {
			return http.Header{"X-Gitlab-Token": {testToken}, "X-Gitlab-Event": {"Push Hook"}}
		},
		good:  `{"ref":"refs/heads/main","object_kind":"push"}`,
		proof: "X-Gitlab-Token",
		bare:  true,
		wrong: `{"ref":1}`,
	})
}
