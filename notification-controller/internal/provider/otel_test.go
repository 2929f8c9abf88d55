package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/google/go-cmp/cmp"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector is an endpoint of OTLP/HTTP that keeps the last request.
type collector struct {
	*httptest.Server
	path    string
	header  http.Header
	request *collectorv1.ExportTraceServiceRequest
}

func newCollector(t *testing.T, answer *collectorv1.ExportTraceServiceResponse) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.path, c.header, c.request = r.URL.Path, r.Header, &collectorv1.ExportTraceServiceRequest{}
		if err := proto.Unmarshal(body, c.request); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		text, err := proto.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(text)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) span(t *testing.T) *tracev1.Span {
	t.Helper()
	rs := c.request.GetResourceSpans()
	if len(rs) != 1 || len(rs[0].ScopeSpans) != 1 || len(rs[0].ScopeSpans[0].Spans) != 1 {
		t.Fatalf("got %v, want one span", c.request)
	}
	return rs[0].ScopeSpans[0].Spans[0]
}

func attributes(list []*commonv1.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		out[kv.Key] = kv.GetValue().GetStringValue()
	}
	return out
}

func otelTo(t *testing.T, change func(*Target), c *collector) Sender {
	t.Helper()
	target := targetAt("otel", c.URL)
	target.Address = c.URL
	change(&target)
	s, err := newOTel(target)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOtelSends(t *testing.T) {
	c := newCollector(t, &collectorv1.ExportTraceServiceResponse{})
	s := otelTo(t, func(*Target) {}, c)
	if err := send(t.Context(), s, sample()); err != nil {
		t.Fatal(err)
	}
	span := c.span(t)
	sum := sha256.Sum256([]byte("alert-uid:main@sha1:" + sha))
	if hex.EncodeToString(span.TraceId) != hex.EncodeToString(sum[:16]) || hex.EncodeToString(span.ParentSpanId) != hex.EncodeToString(sum[:8]) {
		t.Errorf("trace %x, parent %x", span.TraceId, span.ParentSpanId)
	}
	if c.path != "/v1/traces" || span.Name != "Kustomization: ns/apps" || span.Status.Code != tracev1.Status_STATUS_CODE_ERROR || span.Status.Message != "no <way>" ||
		span.StartTimeUnixNano != uint64(sample().Timestamp.UnixNano()) || span.EndTimeUnixNano != span.StartTimeUnixNano || len(span.SpanId) != 8 {
		t.Errorf("at %s: got %v", c.path, span)
	}
	want := map[string]string{
		"object.uid": "uid-1", "object.kind": "Kustomization", "object.name": "apps", "object.namespace": "ns",
		"change_request": "7", "revision": "main@sha1:" + sha, "summary": "staging",
	}
	if diff := cmp.Diff(want, attributes(span.Attributes)); diff != "" {
		t.Error(diff)
	}
	want = map[string]string{"service.name": "ns/all", "service.namespace": "ns", "service.instance.id": "alert-uid"}
	if diff := cmp.Diff(want, attributes(c.request.ResourceSpans[0].Resource.Attributes)); diff != "" {
		t.Error(diff)
	}
	first := span.SpanId
	if err := send(t.Context(), s, sample()); err != nil || cmp.Diff(first, c.span(t).SpanId) != "" {
		t.Errorf("the same event made another span: %v", err)
	}
	if err := send(t.Context(), s, recovery()); err != nil || cmp.Diff(first, c.span(t).SpanId) == "" || c.span(t).Status.Code != tracev1.Status_STATUS_CODE_OK {
		t.Errorf("another event: %v, %v", c.span(t), err)
	}
}

func TestOtelTraces(t *testing.T) {
	root := func(revision string) string {
		sum := sha256.Sum256([]byte("alert-uid:" + revision))
		return hex.EncodeToString(sum[:])
	}
	for name, tt := range map[string]struct {
		kind     string
		metadata map[string]string
		revision string
		isRoot   bool
	}{
		"a source is the root": {kind: "GitRepository", metadata: map[string]string{"revision": "main@sha1:" + sha}, revision: "main@sha1:" + sha, isRoot: true},
		"the commit behind":    {kind: "Kustomization", metadata: map[string]string{"revision": "latest@sha256:1", "originRevision": "main@sha1:" + sha}, revision: "main@sha1:" + sha},
		"chart from OCI":       {kind: "HelmRelease", metadata: map[string]string{"revision": "6.1.0", "app-version": "6.1.0", "oci-digest": "sha256:1"}, revision: "6.1.0@sha256:1"},
		"no revision":          {kind: "HelmRelease", revision: "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, &collectorv1.ExportTraceServiceResponse{})
			e := sample()
			e.InvolvedObject.Kind, e.Metadata = tt.kind, tt.metadata
			if err := send(t.Context(), otelTo(t, func(*Target) {}, c), e); err != nil {
				t.Fatal(err)
			}
			span, want := c.span(t), root(tt.revision)
			if got := hex.EncodeToString(span.TraceId); got != want[:32] {
				t.Errorf("trace %s, want %s", got, want[:32])
			}
			if isRoot := hex.EncodeToString(span.SpanId) == want[:16] && len(span.ParentSpanId) == 0; isRoot != tt.isRoot {
				t.Errorf("root: %t, span %x below %x", isRoot, span.SpanId, span.ParentSpanId)
			}
		})
	}
	c := newCollector(t, &collectorv1.ExportTraceServiceResponse{})
	e := sample()
	e.InvolvedObject.Kind = "HelmRepository"
	if err := send(t.Context(), otelTo(t, func(*Target) {}, c), e); err != nil || c.request != nil {
		t.Errorf("a HelmRepository made a span: %v, %v", c.request, err)
	}
}

func TestOtelAuthentication(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Target)
		want   string
	}{
		"token":            {func(t *Target) { t.Token, t.Login, t.Password = "abc", "", "" }, "Bearer abc"},
		"password alone":   {func(t *Target) { t.Token, t.Login, t.Password = "", "", "abc" }, "Bearer abc"},
		"user":             {func(t *Target) { t.Token, t.Login, t.Password = "", "me", "abc" }, basic("me", "abc")},
		"headers win":      {func(t *Target) { t.Headers = map[string]string{"authorization": "ApiKey 1"} }, "ApiKey 1"},
		"beside a header":  {func(t *Target) { t.Token, t.Headers = "abc", map[string]string{"X-Team": "ops"} }, "Bearer abc"},
		"none of them all": {func(t *Target) { t.Token, t.Login, t.Password = "", "", "" }, ""},
	} {
		c := newCollector(t, &collectorv1.ExportTraceServiceResponse{})
		if err := send(t.Context(), otelTo(t, tt.change, c), sample()); err != nil || c.header.Get("Authorization") != tt.want {
			t.Errorf("%s: got %q, %v", name, c.header.Get("Authorization"), err)
		}
		if name == "beside a header" && c.header.Get("X-Team") != "ops" {
			t.Errorf("the header is missing: %v", c.header)
		}
	}
}

func TestOtelRejectedSpan(t *testing.T) {
	c := newCollector(t, &collectorv1.ExportTraceServiceResponse{PartialSuccess: &collectorv1.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "too old"}})
	s := otelTo(t, func(t *Target) { t.Address += "/custom/path" }, c)
	if err := send(t.Context(), s, sample()); !IsFinal(err) || c.path != "/custom/path" {
		t.Errorf("got %v at %s", err, c.path)
	}
	if err := s.Send(t.Context(), &eventv1.Event{}); !IsFinal(err) {
		t.Errorf("without an Alert: %v", err)
	}
}
