package receiver

import (
	"net/http"
	"testing"
)

func TestDockerhub(t *testing.T) {
	table(t, "dockerhub", sender{
		header: func(_ string) http.Header { return http.Header{} },
		good:   `{"push_data":{"tag":"v1"},"repository":{"repo_url":"https://hub.docker.com/r/a/b"}}`,
		wrong:  `{"push_data":1}`,
	})
}
