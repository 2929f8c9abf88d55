package receiver

import (
	"net/http"
	"testing"
)

func TestQuay(t *testing.T) {
	table(t, "quay", sender{
		header: func(_ string) http.Header { return http.Header{} },
		good:   `{"docker_url":"quay.io/a/b","updated_tags":["v1"]}`,
		wrong:  `{"docker_url":[]}`,
	})
}
