package telemetry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/weirhq/weir/internal/secrets"
)

// maxTraced bounds the runs of one object that become part of one trace: an
// object that fails for days must not make it endless.
const maxTraced = 50

// maxText bounds an attribute of a span, in bytes.
const maxText = 1024

// Revision is what a run worked on, and thereby which trace it belongs to.
type Revision struct {
	// Name is a revision as artifacts have it, such as "main@sha1:5f2c…". An empty
	// one belongs to no trace.
	Name string
	// Digest tells apart equal names of different things, such as versions of
	// charts.
	Digest string
	// Maker is the object whose run made the revision; its first span becomes the
	// parent. The zero value is the object itself.
	Maker Object
	// Causes led to this revision; their traces are linked.
	Causes []Cause
}

// Cause is what an object said at the time, by the name of the revision.
type Cause struct {
	Object   Object
	Revision string
}

// key is what identifies the content: the same for "main@sha1:5f2c…" and the tag
// of that commit.
func (r Revision) key() string {
	if sum := r.Name[strings.LastIndex(r.Name, "@")+1:]; checksum.MatchString(sum) {
		return sum
	}
	return r.Name + "@" + r.Digest
}

// Outcome is how a run ended.
type Outcome struct {
	Revision Revision
	// First says that the object had another revision before this run.
	First  bool
	Reason string // of the Ready condition
	Err    error  // nil if nothing failed
}

// checksum is what a revision ends in that names its content.
var checksum = regexp.MustCompile(`^(sha1|sha256|sha384|sha512|blake3):[0-9a-f]{32,}$`)

// tracer sends spans; nil is tracing switched off.
var tracer atomic.Pointer[exporter]

type exporter struct {
	tracer  oteltrace.Tracer
	sampler sdktrace.Sampler // of traces, by their id alone

	mu     sync.Mutex
	traced map[Object]counted
}

type counted struct {
	key string
	n   int
}

// Trace makes an ended run part of the trace of its revision, and returns the
// id of that trace; "" if there is none. It never blocks.
func (r *Run) Trace(o Outcome) string {
	e := tracer.Load()
	if e == nil || o.Revision.Name == "" || !e.admit(r.object, o.Revision.key()) {
		return ""
	}
	key := o.Revision.key()
	own := spanOf(r.object, key)
	parent, id := own, random()
	if o.First {
		parent, id = oteltrace.SpanID{}, own
		if o.Revision.Maker != (Object{}) {
			parent = spanOf(o.Revision.Maker, key)
		}
	}
	ctx, span := e.start(key, parent, id, "reconcile "+r.object.Kind, r.start, links(o.Revision.Causes),
		append(r.object.attributes(), attribute.String("weir.revision", text(o.Revision.Name)), attribute.String("weir.reason", o.Reason)))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.past {
		_, child := e.tracer.Start(ctx, p.name, oteltrace.WithTimestamp(p.start))
		child.End(oteltrace.WithTimestamp(p.end))
	}
	if o.Err != nil {
		span.SetStatus(codes.Error, text(o.Err.Error()))
	}
	span.End(oteltrace.WithTimestamp(r.ended))
	return traceOf(key).String()
}

// Notified makes an attempt to tell an event part of the trace of the event's
// revision. The provider is who told it.
func Notified(about Object, revision Revision, provider Object, kind string, since time.Time, err error) {
	e := tracer.Load()
	if e == nil || revision.Name == "" {
		return
	}
	key := revision.key()
	_, span := e.start(key, spanOf(about, key), random(), Notify, since, nil,
		append(provider.attributes(), attribute.String("weir.provider.type", kind)))
	if err != nil {
		span.SetStatus(codes.Error, text(err.Error()))
	}
	span.End()
}

// Forget drops what is remembered of an object that is gone.
func Forget(o Object) {
	perObject.forget(o)
	if e := tracer.Load(); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.traced, o)
	}
}

// admit counts the runs of an object in one trace.
func (e *exporter) admit(o Object, key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.traced[o]
	if c.key != key {
		c = counted{key: key}
	}
	c.n++
	e.traced[o] = c
	return c.n <= maxTraced
}

// start begins a span with the given id in the trace of key.
func (e *exporter) start(key string, parent, id oteltrace.SpanID, name string, at time.Time, links []oteltrace.Link, attributes []attribute.KeyValue) (context.Context, oteltrace.Span) {
	ctx := context.WithValue(context.Background(), idsKey{}, ids{traceOf(key), id})
	if parent.IsValid() {
		// The parent may be of another program. Whether it was sampled follows from
		// the trace's id there as here.
		sc := oteltrace.SpanContextConfig{TraceID: traceOf(key), SpanID: parent, Remote: true}
		if e.sampler.ShouldSample(sdktrace.SamplingParameters{ParentContext: context.Background(), TraceID: sc.TraceID}).Decision == sdktrace.RecordAndSample {
			sc.TraceFlags = oteltrace.FlagsSampled
		}
		ctx = oteltrace.ContextWithSpanContext(ctx, oteltrace.NewSpanContext(sc))
	}
	ctx, span := e.tracer.Start(ctx, name, oteltrace.WithTimestamp(at), oteltrace.WithLinks(links...), oteltrace.WithAttributes(attributes...))
	return context.WithValue(ctx, idsKey{}, nil), span // children get ids by chance
}

// idsKey and ids carry the ids that a span is to have to the SDK's generator.
type idsKey struct{}

type ids struct {
	trace oteltrace.TraceID
	span  oteltrace.SpanID
}

// generator implements sdktrace.IDGenerator.
type generator struct{}

func (generator) NewIDs(ctx context.Context) (oteltrace.TraceID, oteltrace.SpanID) {
	if want, ok := ctx.Value(idsKey{}).(ids); ok {
		return want.trace, want.span
	}
	var t oteltrace.TraceID
	_, _ = rand.Read(t[:]) // never fails
	return t, random()
}

func (generator) NewSpanID(ctx context.Context, _ oteltrace.TraceID) oteltrace.SpanID {
	if want, ok := ctx.Value(idsKey{}).(ids); ok {
		return want.span
	}
	return random()
}

func random() (id oteltrace.SpanID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// traceOf derives the id of a trace from what identifies its revision.
func traceOf(key string) (id oteltrace.TraceID) {
	sum := sha256.Sum256([]byte(key))
	copy(id[:], sum[:])
	return id
}

// spanOf derives the id of an object's first span in a trace.
func spanOf(o Object, key string) (id oteltrace.SpanID) {
	sum := sha256.Sum256([]byte(strings.Join([]string{o.Kind, o.Namespace, o.Name, key}, "\x00")))
	copy(id[:], sum[:])
	return id
}

func links(causes []Cause) (out []oteltrace.Link) {
	for _, c := range causes[:min(len(causes), maxPhases)] {
		key := Revision{Name: c.Revision}.key()
		sc := oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: traceOf(key), SpanID: spanOf(c.Object, key), Remote: true})
		out = append(out, oteltrace.Link{SpanContext: sc, Attributes: c.Object.attributes()})
	}
	return out
}

func (o Object) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("k8s.namespace.name", o.Namespace),
		attribute.String("weir.object.kind", o.Kind),
		attribute.String("weir.object.name", o.Name),
	}
}

func text(s string) string {
	s = secrets.Redact(s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}
