package provider

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// envelope sends an event and returns the kind and the content of the one
// item of the envelope that Sentry gets.
func envelope(t *testing.T, severity string) (kind string, item map[string]any, r *http.Request) {
	t.Helper()
	to := newSink(t)
	e := sample()
	if e.Severity = severity; severity != "error" {
		e.Reason = "ReconciliationSucceeded"
	}
	if err := send(t.Context(), senderTo(t, "sentry", to.URL), e); err != nil || len(to.seen) != 1 {
		t.Fatalf("%d requests, %v", len(to.seen), err)
	}
	// https://develop.sentry.dev/sdk/data-model/envelopes/: a line of headers,
	// then for each item a line of headers and its content.
	lines := strings.Split(strings.TrimSpace(to.bodies[0]), "\n")
	var header struct{ Type string }
	if len(lines) != 3 || json.Unmarshal([]byte(lines[1]), &header) != nil || json.Unmarshal([]byte(lines[2]), &item) != nil {
		t.Fatalf("got %s", to.bodies[0])
	}
	return header.Type, item, to.seen[0]
}

func TestSentrySends(t *testing.T) {
	kind, item, r := envelope(t, "error")
	if r.Method != "POST" || r.RequestURI != "/api/42/envelope/" || !strings.Contains(r.Header.Get("X-Sentry-Auth"), "sentry_key="+planted) ||
		r.Header.Get("Content-Type") != "application/x-sentry-envelope" {
		t.Errorf("got %s %s with %v", r.Method, r.RequestURI, r.Header)
	}
	if kind != "event" || item["level"] != "error" || item["message"] != "no <way>" || item["environment"] != "ops" || item["server_name"] != "kustomize-controller" ||
		item["transaction"] != "Kustomization: ns/apps" || item["timestamp"] != "2026-01-02T03:04:05Z" {
		t.Errorf("got %s: %v", kind, item)
	}
	contexts, _ := item["contexts"].(map[string]any)
	want := map[string]any{"change_request": "7", "revision": "main@sha1:" + sha, "summary": "staging"}
	if diff := cmp.Diff(want, contexts["metadata"]); diff != "" {
		t.Error(diff)
	}

	kind, item, _ = envelope(t, "info")
	contexts, _ = item["contexts"].(map[string]any)
	trace, _ := contexts["trace"].(map[string]any)
	if kind != "transaction" || item["type"] != "transaction" || item["transaction"] != "Kustomization: ns/apps" || item["environment"] != "ops" ||
		item["start_timestamp"] != item["timestamp"] || len(trace["trace_id"].(string)) != 32 || len(trace["span_id"].(string)) != 16 || trace["status"] != "ok" {
		t.Errorf("got %s: %v", kind, item)
	}
	tags, _ := item["tags"].(map[string]any)
	if tags["flux_involved_object_kind"] != "Kustomization" || tags["flux_reason"] != "ReconciliationSucceeded" || tags["revision"] != "main@sha1:"+sha {
		t.Errorf("tags %v", tags)
	}
	_, again, _ := envelope(t, "info")
	if diff := cmp.Diff(item["contexts"].(map[string]any)["trace"], again["contexts"].(map[string]any)["trace"]); diff != "" {
		t.Errorf("the same event made another transaction: %s", diff)
	}
}

// TestSentryRateLimit asserts that the library's own limits drop nothing.
func TestSentryRateLimit(t *testing.T) {
	to := newSink(t, status(429, "Retry-After", "60", "X-Sentry-Rate-Limits", "60::organization"))
	s := senderTo(t, "sentry", to.URL)
	if err := send(t.Context(), s, sample()); RetryAfter(err) != time.Minute || IsFinal(err) {
		t.Errorf("got %v", err)
	}
	if err := send(t.Context(), s, sample()); err != nil || len(to.seen) != 2 {
		t.Errorf("%d requests, %v", len(to.seen), err)
	}
}

func TestSentryRefuses(t *testing.T) {
	refuses(t, "sentry", map[string]func(*Target){
		"no key":     func(t *Target) { t.Address = "https://sentry.example.com/1" },
		"no project": func(t *Target) { t.Address = "https://" + planted + "@sentry.example.com/" },
	})
}
