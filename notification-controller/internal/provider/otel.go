package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

// otel makes one span of each event and posts it to an OTLP/HTTP endpoint.
// Spans of one revision are one trace for each Alert (RFC-0011 of Flux): the
// event of a source is its root, those of all other objects hang below it.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
type otel struct {
	to     *url.URL
	client *http.Client
	header http.Header
}

func newOTel(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	if to.Path == "" || to.Path == "/" {
		to = to.JoinPath("v1/traces")
	}
	h := http.Header{}
	t.authorize(h)
	if h.Get("Authorization") == "" && t.Password != "" { // a password alone is a token
		h.Set("Authorization", "Bearer "+t.Password)
	}
	for name, value := range t.Headers {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/x-protobuf")
	return &otel{to: to, client: t.Client, header: h}, nil
}

// Send implements Sender. Without an Alert there is no trace.
func (o *otel) Send(context.Context, *eventv1.Event) error {
	return Final(errors.New("a span needs an Alert"))
}

// SendFor implements alertSender.
func (o *otel) SendFor(ctx context.Context, alert *notificationv1beta3.Alert, event *eventv1.Event) error {
	if event.InvolvedObject.Kind == "HelmRepository" {
		return nil // an index of many charts, whose revision is no other object's
	}
	body, err := proto.Marshal(traceOf(alert, event))
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	answer, err := do(ctx, o.client, http.MethodPost, o.to, body, o.header, maxAnswer)
	if err != nil {
		return err
	}
	var said collectorv1.ExportTraceServiceResponse
	if proto.Unmarshal(answer, &said) == nil && said.GetPartialSuccess().GetRejectedSpans() > 0 {
		return Final(fmt.Errorf("POST %s: the span was rejected%s", host(o.to), quote([]byte(said.PartialSuccess.ErrorMessage))))
	}
	return nil
}

func traceOf(alert *notificationv1beta3.Alert, event *eventv1.Event) *collectorv1.ExportTraceServiceRequest {
	uid := string(alert.UID)
	return &collectorv1.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{
			attribute("service.name", alert.Namespace+"/"+alert.Name),
			attribute("service.namespace", alert.Namespace), attribute("service.instance.id", uid),
		}},
		ScopeSpans: []*tracev1.ScopeSpans{{
			Scope: &commonv1.InstrumentationScope{Name: "flux:notification-controller"},
			Spans: []*tracev1.Span{spanOf(uid, event)},
		}},
	}}}
}

func spanOf(alertUID string, event *eventv1.Event) *tracev1.Span {
	o := event.InvolvedObject
	at := uint64(max(event.Timestamp.UnixNano(), 0))
	root := sha256.Sum256([]byte(alertUID + ":" + traceRevision(event)))
	span := &tracev1.Span{
		TraceId: root[:16], SpanId: root[:8], Name: o.Kind + ": " + o.Namespace + "/" + o.Name, Kind: tracev1.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: at, EndTimeUnixNano: at,
		Attributes: []*commonv1.KeyValue{
			attribute("object.uid", string(o.UID)), attribute("object.kind", o.Kind), attribute("object.name", o.Name), attribute("object.namespace", o.Namespace),
		},
		Status: &tracev1.Status{Code: tracev1.Status_STATUS_CODE_OK, Message: event.Message},
	}
	if isError(event) {
		span.Status.Code = tracev1.Status_STATUS_CODE_ERROR
	}
	for _, f := range factsOf(event) {
		span.Attributes = append(span.Attributes, attribute(f.key, f.value))
	}
	if !isSource(o.Kind) {
		// The same event sent twice is the same span.
		own := sha256.Sum256(fmt.Appendf(nil, "%s:%s:%s:%s:%d", alertUID, o.UID, traceRevision(event), event.Reason, at))
		span.SpanId, span.ParentSpanId = own[:8], root[:8]
	}
	return span
}

// traceRevision is what the events of one change have in common. A
// HelmRelease tells version and digest of its chart apart, where the source of
// the chart has both in one.
func traceRevision(event *eventv1.Event) string {
	if version, digest := event.Metadata["app-version"], event.Metadata["oci-digest"]; version != "" && digest != "" {
		return version + "@" + digest
	}
	if revision, ok := event.GetRevision(); ok {
		return revision
	}
	return "unknown"
}

func isSource(kind string) bool {
	return slices.Contains([]string{"GitRepository", "OCIRepository", "Bucket", "HelmChart", "ExternalArtifact"}, kind)
}

func attribute(key, value string) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: value}}}
}
