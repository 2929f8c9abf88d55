package receiver

import (
	"net/http"
	"testing"
)

func TestACR(t *testing.T) {
	table(t, "acr", sender{
		header: func(_ string) http.Header { return http.Header{} },
		good:   `{"action":"push","target":{"repository":"a","tag":"v1"}}`,
		wrong:  `{"action":1}`,
	})
}
