package receiver

import (
	"net/http"
	"testing"
)

func TestGeneric(t *testing.T) {
	table(t, "generic", sender{
		header: func(_ string) http.Header { return http.Header{} },
		good:   `{"a":1}`,
		blind:  true,
	})
}
