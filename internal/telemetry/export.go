package telemetry

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/weirhq/weir/internal/secrets"
)

// quiet is how long failures to export are not logged after one was.
const quiet = 5 * time.Minute

// lastCall bounds the export of what is left when the program ends.
const lastCall = time.Second

// ExportOptions say where spans go. Service is required.
type ExportOptions struct {
	Service   string // name of the program
	Namespace string // where it runs
	Instance  string // which one
	// Endpoint is the URL of an OTLP/HTTP collector; without a path, /v1/traces.
	// Empty means what the environment says.
	Endpoint string
	// Getenv reads the OTEL_* variables.
	Getenv func(string) string
	Log    logr.Logger
}

// wanted tells whether there is a place for spans.
func (o ExportOptions) wanted() bool {
	switch {
	case strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true"):
		return false
	case o.Endpoint != "":
		return true
	case o.Getenv("OTEL_TRACES_EXPORTER") == "none":
		return false
	}
	return o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || o.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Export switches tracing on, if there is an endpoint. What stop is called for
// waits for the last spans, but not long. A collector that is slow or away costs
// spans, and nothing else: they wait in a bounded queue (OTEL_BSP_*).
func Export(ctx context.Context, o ExportOptions) (stop func(), err error) {
	if !o.wanted() {
		return func() {}, nil
	}
	sampler, err := samplerOf(o.Getenv("OTEL_TRACES_SAMPLER"), o.Getenv("OTEL_TRACES_SAMPLER_ARG"))
	if err != nil {
		return nil, err
	}
	var target []otlptracehttp.Option
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q is no URL of an OTLP/HTTP collector, such as http://collector:4318", secrets.Redact(o.Endpoint))
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/v1/traces"
		}
		target = append(target, otlptracehttp.WithEndpointURL(u.String()))
	}
	for _, headers := range []string{o.Getenv("OTEL_EXPORTER_OTLP_HEADERS"), o.Getenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS")} {
		for _, pair := range strings.Split(headers, ",") {
			_, value, _ := strings.Cut(pair, "=")
			secrets.Register(value) // such as a token, which an error might repeat
		}
	}
	client, err := otlptracehttp.New(ctx, target...)
	if err != nil {
		return nil, fmt.Errorf("preparing the export of traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", o.Service),
		attribute.String("service.namespace", o.Namespace),
		attribute.String("service.instance.id", o.Instance),
	), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(client), sdktrace.WithResource(about),
		sdktrace.WithIDGenerator(generator{}), sdktrace.WithSampler(sdktrace.ParentBased(sampler)),
	)
	otel.SetErrorHandler(&complaints{log: o.Log})
	tracer.Store(&exporter{tracer: provider.Tracer("weir"), sampler: sampler, traced: map[Object]counted{}})
	return func() {
		tracer.Store(nil)
		ctx, cancel := context.WithTimeout(context.Background(), lastCall)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			otel.Handle(err)
		}
	}, nil
}

// samplerOf decides by the trace's id alone, so that all programs decide the
// same: "parentbased_" changes nothing here.
func samplerOf(name, arg string) (sdktrace.Sampler, error) {
	switch kind := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "parentbased_"); kind {
	case "", "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "traceidratio":
		if arg == "" {
			return sdktrace.AlwaysSample(), nil
		}
		ratio, err := strconv.ParseFloat(strings.TrimSpace(arg), 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG %q: use a number from 0 to 1", arg)
		}
		return sdktrace.TraceIDRatioBased(ratio), nil
	}
	return nil, fmt.Errorf("OTEL_TRACES_SAMPLER %q: use always_on, always_off or traceidratio", name)
}

// complaints logs failures of the export, one in a while.
type complaints struct {
	log  logr.Logger
	mu   sync.Mutex
	last time.Time
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) < quiet {
		return
	}
	c.last = time.Now()
	c.log.Info("traces cannot be exported; the work goes on without them", "error", secrets.Redact(err.Error()))
}
