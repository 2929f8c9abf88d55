package telemetry

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/cache"
	"github.com/go-logr/logr"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/weirhq/weir/internal/secrets"
)

// receiver takes spans as a collector does.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracev1.Span
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body := io.Reader(req.Body)
		if req.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(req.Body)
		}
		data, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		var sent collectorv1.ExportTraceServiceRequest
		if err := proto.Unmarshal(data, &sent); err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range sent.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) named(name string) (found []*tracev1.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func export(t *testing.T, endpoint string, env map[string]string) (stop func()) {
	t.Helper()
	stop, err := Export(t.Context(), ExportOptions{
		Service: "some-controller", Endpoint: endpoint, Getenv: func(name string) string { return env[name] }, Log: logr.Discard(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}

var (
	git   = Object{"GitRepository", "ns", "app"}
	apply = Object{"Kustomization", "ns", "app"}
)

const commit = "sha1:0123456789abcdef0123456789abcdef01234567"

// Spans of programs that know nothing of each other join by the revision, and
// by who made it.
func TestSpansJoin(t *testing.T) {
	secrets.Register("pl4nted-password")
	r := newReceiver(t)
	stop := export(t, r.URL, nil)
	ctx, source := Begin(t.Context(), git)
	Enter(ctx, Poll)
	Enter(ctx, Fetch)
	source.End()
	first := source.Trace(Outcome{Revision: Revision{Name: "main@" + commit}, First: true, Reason: "Succeeded"})

	ctx, run := Begin(t.Context(), apply)
	Enter(ctx, Build)
	Waited(ctx, Health, time.Now().Add(-time.Minute))
	run.End()
	failure := errors.New("login with pl4nted-password failed")
	second := run.Trace(Outcome{Revision: Revision{Name: "v1.0@" + commit, Maker: git}, First: true, Err: failure})
	_, again := Begin(t.Context(), apply)
	again.End()
	again.Trace(Outcome{Revision: Revision{Name: "v1.0@" + commit, Maker: git}})
	Notified(apply, Revision{Name: "v1.0@" + commit}, Object{"Provider", "ns", "chat"}, "slack", time.Now(), nil)
	stop()

	if first == "" || first != second {
		t.Fatalf("traces %q and %q", first, second)
	}
	root, runs, told := r.named("reconcile GitRepository")[0], r.named("reconcile Kustomization"), r.named(Notify)[0]
	if len(root.ParentSpanId) != 0 || hex.EncodeToString(root.TraceId) != first {
		t.Errorf("the first span is %v", root)
	}
	if len(runs) != 2 || string(runs[0].ParentSpanId) != string(root.SpanId) || string(runs[1].ParentSpanId) != string(runs[0].SpanId) {
		t.Errorf("the runs are %v", runs)
	}
	if string(told.ParentSpanId) != string(runs[0].SpanId) {
		t.Errorf("the notification is %v", told)
	}
	health := r.named(Health)[0]
	if took := time.Duration(health.EndTimeUnixNano - health.StartTimeUnixNano); took < time.Minute || string(health.ParentSpanId) != string(runs[0].SpanId) {
		t.Errorf("health took %s in %v", took, health)
	}
	if len(r.named(Fetch)) != 1 || len(r.named(Poll)) != 1 || len(r.named(Build)) != 1 {
		t.Errorf("phases are missing: %v", r.spans)
	}
	if s := runs[0].Status; s.Code != tracev1.Status_STATUS_CODE_ERROR || strings.Contains(s.Message, "pl4nted") {
		t.Errorf("the failure is told as %v", s)
	}
}

func TestTracesAreBounded(t *testing.T) {
	r := newReceiver(t)
	stop := export(t, r.URL, nil)
	for range 3 * maxTraced {
		ctx, run := Begin(t.Context(), apply)
		for range 3 * maxPhases {
			Enter(ctx, Build)
			Enter(ctx, Build) // it goes on
			Enter(ctx, Apply)
		}
		run.End()
		run.Trace(Outcome{Revision: Revision{Name: commit}})
	}
	stop()
	runs, builds := len(r.named("reconcile Kustomization")), len(r.named(Build))
	if runs != maxTraced || builds != maxTraced*maxPhases/2 {
		t.Errorf("%d runs with %d phases, want %d runs", runs, builds, maxTraced)
	}
	Forget(apply)
}

// A collector that hangs costs no run more than a moment.
func TestACollectorThatHangsBlocksNobody(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	stop := export(t, server.URL, nil)
	begun := time.Now()
	for i := range 10_000 {
		_, run := Begin(t.Context(), Object{"Kustomization", "ns", string(rune('a' + i%26))})
		run.End()
		run.Trace(Outcome{Revision: Revision{Name: commit}, First: true})
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("10000 runs took %s", took)
	}
	stopping := time.Now()
	stop()
	if took := time.Since(stopping); took > lastCall+10*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestWhenTracesAreExported(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoint  string
		env       map[string]string
		on, fails bool
	}{
		"nothing said":    {},
		"flag":            {endpoint: "http://127.0.0.1:1", on: true},
		"environment":     {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		"traces only":     {env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, on: true},
		"switched off":    {endpoint: "http://127.0.0.1:1", env: map[string]string{"OTEL_SDK_DISABLED": "true"}},
		"no exporter":     {env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}},
		"no URL":          {endpoint: "collector:4318", fails: true},
		"unknown sampler": {endpoint: "http://127.0.0.1:1", env: map[string]string{"OTEL_TRACES_SAMPLER": "jaeger"}, fails: true},
		"ratio of 2":      {endpoint: "http://127.0.0.1:1", env: map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			stop, err := Export(t.Context(), ExportOptions{Service: "s", Endpoint: tt.endpoint, Getenv: func(n string) string { return tt.env[n] }, Log: logr.Discard()})
			if (err != nil) != tt.fails {
				t.Fatalf("error = %v", err)
			}
			if on := tracer.Load() != nil; on != tt.on {
				t.Errorf("on = %v", on)
			}
			if stop != nil {
				stop()
			}
		})
	}
}

// All programs keep the same traces: a span and its parent elsewhere are either
// both there or both not.
func TestSamplingFollowsTheRevision(t *testing.T) {
	r := newReceiver(t)
	stop := export(t, r.URL, map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.3"})
	for i := range 200 {
		name := commit[:len(commit)-4] + hex.EncodeToString([]byte{byte(i), 7})
		_, source := Begin(t.Context(), git)
		source.End()
		source.Trace(Outcome{Revision: Revision{Name: name}, First: true})
		_, run := Begin(t.Context(), apply)
		run.End()
		run.Trace(Outcome{Revision: Revision{Name: name, Maker: git}, First: true})
	}
	stop()
	ids := func(name string) (out []string) {
		for _, s := range r.named(name) {
			out = append(out, string(s.TraceId))
		}
		slices.Sort(out)
		return out
	}
	sources, runs := ids("reconcile GitRepository"), ids("reconcile Kustomization")
	if len(sources) < 20 || len(sources) > 120 || !slices.Equal(sources, runs) {
		t.Errorf("%d and %d of 200 traces were kept", len(sources), len(runs))
	}
}

func TestKeyOfARevision(t *testing.T) {
	for name, tt := range map[string]struct{ a, b Revision }{
		"branch and tag":       {Revision{Name: "main@" + commit}, Revision{Name: "v1@" + commit}},
		"branch and bare":      {Revision{Name: "main@" + commit}, Revision{Name: commit}},
		"digest of no matter":  {Revision{Name: "main@" + commit, Digest: "x"}, Revision{Name: commit}},
		"name with an at sign": {Revision{Name: "a@b@" + commit}, Revision{Name: commit}},
	} {
		if tt.a.key() != tt.b.key() {
			t.Errorf("%s: %q and %q", name, tt.a.key(), tt.b.key())
		}
	}
	for name, tt := range map[string]struct{ a, b Revision }{
		"charts of one version": {Revision{Name: "1.2.3", Digest: "sha256:a"}, Revision{Name: "1.2.3", Digest: "sha256:b"}},
		"tags of an image":      {Revision{Name: "localhost:5000/app:1"}, Revision{Name: "localhost:5000/app:2"}},
		"scans of an image":     {Revision{Name: "localhost:5000/app", Digest: "1"}, Revision{Name: "localhost:5000/app", Digest: "2"}},
	} {
		if tt.a.key() == tt.b.key() {
			t.Errorf("%s: both are %q", name, tt.a.key())
		}
	}
}

func TestStateIsBoundedAndClean(t *testing.T) {
	secrets.Register("pl4nted-in-state")
	var s State
	s.Add("numbers", func() any { return map[string]int{"a": 1} })
	s.Add("leak", func() any { return map[string]string{"url": "https://me:pl4nted-in-state@example.com/x?token=abcdef"} })
	s.Add("huge", func() any { return strings.Repeat("x", 2*maxSection) })
	s.Add("broken", func() any { return make(chan int) })
	s.Add("panics", func() any { panic("pl4nted-in-state") })
	release := make(chan struct{})
	s.Add("hangs", func() any { <-release; return "late" })
	get := func() string {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/state", nil))
		return w.Body.String()
	}
	for range 2 { // the second finds the one that hangs still busy
		text := get()
		var answer map[string]any
		if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer) != 6 {
			t.Fatalf("%v in %s", err, text)
		}
		if strings.Contains(text, "pl4nted") || len(text) > maxSection || !strings.Contains(text, "example.com") {
			t.Errorf("the answer is %.2000s", text)
		}
		if !strings.Contains(text, "no answer within") {
			t.Errorf("nothing says which part hangs: %.2000s", text)
		}
	}
	close(release)
}

// A cache that is made anew, as in a test or after a change of settings, does not
// end the program, and series go with their object.
func TestTokenCacheMetrics(t *testing.T) {
	for range 2 {
		tokens, err := cache.NewTokenCache(10, TokenCache("test")...)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = tokens.GetOrSet(t.Context(), "key", func(context.Context) (cache.Token, error) { return token{}, nil },
			cache.WithInvolvedObject("Kind", "name", "ns", "reconcile"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := series(t, "gotk_token_cache_events_total"); got != 1 {
		t.Errorf("%d series of look-ups, want one", got)
	}
	Forget(Object{"Kind", "ns", "name"})
	if got := series(t, "gotk_token_cache_events_total"); got != 0 {
		t.Errorf("%d series of look-ups of an object that is gone", got)
	}
	if got := series(t, "gotk_token_cached_items"); got != 1 {
		t.Errorf("%d series of cached items", got)
	}
}

type token struct{}

func (token) GetDuration() time.Duration { return time.Hour }

func series(t *testing.T, name string) int {
	t.Helper()
	all, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return len(f.Metric)
		}
	}
	return 0
}
