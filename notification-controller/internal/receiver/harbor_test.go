package receiver

import (
	"net/http"
	"testing"
)

func TestHarbor(t *testing.T) {
	table(t, "harbor", sender{
		header: func(_ string) http.Header { return http.Header{"Authorization": {testToken}} },
		good:   `{"type":"PUSH_ARTIFACT"}`,
		proof:  "Authorization",
		bare:   true,
	})
}
