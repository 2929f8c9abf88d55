package receiver

import (
	"net/http"
	"testing"
)

func TestCDEvents(t *testing.T) {
	table(t, "cdevents", sender{
		header: func(_ string) http.Header { return http.Header{"Ce-Type": {"dev.cdevents.change.merged.0.2.0"}} },
		good:   `{"context":{"version":"0.4.1","id":"1","source":"s","type":"dev.cdevents.change.merged.0.2.0","timestamp":"2026-01-01T00:00:00Z"},"subject":{"id":"x","content":{}}}`,
		wrong:  `{"context":1}`,
	})
}
