package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/getsentry/sentry-go"

	"github.com/weirhq/weir/internal/secrets"
)

// sentrySender reports errors as events, which Sentry alerts on, and anything
// else as transactions, which it only shows. spec.channel is the environment.
// https://develop.sentry.dev/sdk/data-model/envelopes/
type sentrySender struct {
	dsn, environment string
	client           *http.Client
}

func newSentry(t Target) (Sender, error) {
	if t.Address == "" {
		return nil, fmt.Errorf("%w: no address: put the DSN into the key \"address\" of the secret, or into spec.address", ErrInvalid)
	}
	dsn, err := sentry.NewDsn(t.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: the address is no DSN of Sentry", ErrInvalid)
	}
	secrets.Register(dsn.GetPublicKey(), dsn.GetSecretKey())
	return &sentrySender{dsn: t.Address, environment: t.Channel, client: t.Client}, nil
}

// Send makes a client of Sentry's library for each event: the library tells
// nobody what became of an event, and after an answer of 429 drops those that
// follow. The witness sees what it does.
func (s *sentrySender) Send(ctx context.Context, event *eventv1.Event) error {
	saw := &witness{base: s.client, ctx: ctx}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: s.dsn, Environment: s.environment, Transport: sentry.NewHTTPSyncTransport(),
		HTTPClient: &http.Client{Transport: saw}, Integrations: func([]sentry.Integration) []sentry.Integration { return nil },
		DisableClientReports: true, DisableTelemetryBuffer: true, DisableMetrics: true, Release: " ",
	})
	if err != nil {
		return Final(fmt.Errorf("%w: the DSN cannot be used", ErrInvalid))
	}
	client.CaptureEvent(sentryEventOf(event), nil, nil)
	if saw.err == nil && !saw.done {
		return Final(errors.New("the library of Sentry made no request for this event"))
	}
	return saw.err
}

func sentryEventOf(event *eventv1.Event) *sentry.Event {
	o := event.InvolvedObject
	e := sentry.NewEvent()
	e.Timestamp, e.Message, e.ServerName = event.Timestamp.Time, event.Message, event.ReportingController
	e.Transaction = o.Kind + ": " + o.Namespace + "/" + o.Name
	if isError(event) {
		e.Level = sentry.LevelError
		metadata := sentry.Context{}
		for _, f := range factsOf(event) {
			metadata[f.key] = f.value
		}
		e.Contexts["metadata"] = metadata
		e.Tags = sentryTags(event, false)
		return e
	}
	e.Type, e.Level = "transaction", sentry.LevelInfo
	e.StartTime = event.Timestamp.Time
	e.Tags = sentryTags(event, true)
	trace := sentry.TraceContext{Op: "event", Status: sentry.SpanStatusOK, Description: event.Message}
	// The same event sent twice is the same transaction.
	id := sha256.Sum256(fmt.Appendf(nil, "%s:%s:%d:%s", o.UID, event.Reason, event.Timestamp.UnixNano(), event.Message))
	copy(trace.TraceID[:], id[:16])
	copy(trace.SpanID[:], id[16:])
	e.Contexts["trace"] = trace.Map()
	return e
}

// sentryTags are what one can search for; they are 200 characters at most.
func sentryTags(event *eventv1.Event, metadata bool) map[string]string {
	o := event.InvolvedObject
	tags := map[string]string{
		"flux_involved_object_kind": o.Kind, "flux_involved_object_namespace": o.Namespace, "flux_involved_object_name": o.Name,
		"flux_reporting_controller": event.ReportingController, "flux_reporting_instance": event.ReportingInstance, "flux_reason": event.Reason,
	}
	if metadata {
		for _, f := range factsOf(event) {
			tags[f.key] = cut(f.value, 200)
		}
	}
	return tags
}

// witness makes the requests of Sentry's library and keeps what came of them.
type witness struct {
	base *http.Client
	ctx  context.Context
	done bool
	err  error
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	w.done = true
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	to := &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	answer, err := do(w.ctx, w.base, r.Method, to, body, r.Header, maxAnswer)
	w.err = err
	return &http.Response{
		Status: http.StatusText(http.StatusOK), StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, ContentLength: int64(len(answer)), Request: r,
	}, nil
}
