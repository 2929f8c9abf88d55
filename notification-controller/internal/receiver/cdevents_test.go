package receiver

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	cdevent "github.com/cdevents/sdk-go/pkg/api"
	"github.com/cdevents/sdk-go/pkg/api/v04"
)

const merged = "dev.cdevents.change.merged.0.2.0"

const mergedEvent = `{"context":{"version":"0.4.1","id":"1","source":"s","type":"` + merged + `","timestamp":"2026-01-01T00:00:00Z"},"subject":{"id":"x","type":"change","content":{}}}`

func TestCDEvents(t *testing.T) {
	table(t, "cdevents", sender{
		header: func(_ string) http.Header { return http.Header{"Ce-Type": {merged}} },
		good:   mergedEvent,
		wrong:  `{"context":1}`,
	})
}

func readCDEvent(kind, body string) error {
	_, err := cdevents{}.Read(Request{Header: http.Header{"Ce-Type": {kind}}, Body: []byte(body)})
	return err
}

// TestCDEventsHoldToTheirSchemas refuses, of every type, what its schema does, and takes
// what it allows.
func TestCDEventsHoldToTheirSchemas(t *testing.T) {
	types := 0
	for name, known := range v04.CDEventsByUnversionedTypes {
		if name == cdevent.CustomEventMapKey {
			continue
		}
		types++
		kind := known.GetType().String()
		empty := `{"context":{"version":"0.4.1","id":"1","source":"s","type":"` + kind + `","timestamp":"2026-01-01T00:00:00Z"},"subject":{"id":"x","type":"wrong","content":{}}}`
		if err := readCDEvent(kind, empty); err == nil || len(err.Error()) > 2*maxReport {
			t.Errorf("%s: a subject of another type gives %v", kind, err)
		}
	}
	if types < 40 {
		t.Errorf("%d types are known", types)
	}
	const deployed = "dev.cdevents.service.deployed.0.2.0"
	service := func(content string) string {
		return `{"context":{"version":"0.4.1","id":"1","source":"s","type":"` + deployed + `","timestamp":"2026-01-01T00:00:00Z"},"subject":{"id":"x","type":"service","content":` + content + `}}`
	}
	custom := "dev.cdeventsx.tool-thing.made.0.1.0"
	for name, c := range map[string]struct {
		kind, body, text string // "" is no error
	}{
		"good":               {deployed, service(`{"environment":{"id":"prod"},"artifactId":"pkg:oci/app@sha256%3Aabc?tag=1"}`), ""},
		"no artifact":        {deployed, service(`{"environment":{"id":"prod"}}`), deployed},
		"no purl":            {deployed, service(`{"environment":{"id":"prod"},"artifactId":"app"}`), deployed},
		"no environment":     {deployed, service(`{"artifactId":"pkg:oci/app@sha256%3Aabc"}`), deployed},
		"no time":            {merged, strings.Replace(mergedEvent, "2026-01-01T00:00:00Z", "yesterday", 1), merged},
		"no id":              {merged, strings.Replace(mergedEvent, `"id":"1"`, `"id":""`, 1), merged},
		"unknown type":       {"dev.cdevents.moon.landed.0.1.0", `{"context":{"type":"dev.cdevents.moon.landed.0.1.0"}}`, "no such type"},
		"incompatible":       {"dev.cdevents.change.merged.9.0.0", strings.Replace(mergedEvent, merged, "dev.cdevents.change.merged.9.0.0", 1), "not compatible"},
		"no type at all":     {"push", mergedEvent, "Ce-Type"},
		"another type":       {deployed, mergedEvent, "context.type"},
		"a schema elsewhere": {merged, strings.Replace(mergedEvent, `"id":"1"`, `"id":"1","schemaUri":"http://169.254.169.254/schema"`, 1), "local registry"},
		"custom":             {custom, `{"context":{"version":"0.4.1","id":"1","source":"s","type":"` + custom + `","timestamp":"2026-01-01T00:00:00Z"},"subject":{"id":"x","type":"tool-thing","content":{}}}`, ""},
	} {
		err := readCDEvent(c.kind, c.body)
		if (err == nil) != (c.text == "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.text)
		}
	}
}

// TestCDEventsAreApart reads good and bad events at once: nothing of one is taken for
// that of another.
func TestCDEventsAreApart(t *testing.T) {
	bad := strings.Replace(mergedEvent, `"id":"x",`, "", 1)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 50 {
				if err := readCDEvent(merged, mergedEvent); err != nil {
					t.Error(err)
				}
				if err := readCDEvent(merged, bad); err == nil {
					t.Error("an event without an id of its subject was taken")
				}
			}
		})
	}
	readers.Wait()
}
