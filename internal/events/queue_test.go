package events

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	"github.com/weirhq/weir/internal/secrets"
)

// receiver takes events, and refuses the first ones as often as it is told.
func receiver(t *testing.T, code int, refuse int32) (string, chan eventv1.Event) {
	t.Helper()
	got := make(chan eventv1.Event, 2*maxQueued)
	var refused atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused.Add(1) <= refuse {
			w.WriteHeader(code)
			return
		}
		var e eventv1.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		got <- e
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

func recorder(t *testing.T, address string) *Recorder {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return New(Options{Controller: "some-controller", Scheme: scheme, Kubernetes: record.NewFakeRecorder(10000), Address: address, Log: logr.Discard()})
}

func object() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "ns", Annotations: map[string]string{
		"event.toolkit.fluxcd.io/change_request": "42", "other": "x",
	}}}
}

func start(t *testing.T, r *Recorder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Start(ctx); err != nil {
			t.Error(err)
		}
	}()
	return func() { cancel(); <-ended }
}

func TestMessage(t *testing.T) {
	secrets.Register("pl4nted-value")
	address, got := receiver(t, 0, 0)
	r := recorder(t, address)
	defer start(t, r)()
	r.Trace(object(), "Nothing", "is not sent", nil)
	r.Warning(object(), "Broken", "pl4nted-value "+strings.Repeat("x", 2*maxMessage), map[string]string{"revision": "v1", "empty": ""})
	e := <-got
	if e.Severity != eventv1.EventSeverityError || e.Reason != "Broken" || e.InvolvedObject.Kind != "ConfigMap" ||
		e.InvolvedObject.Name != "app" || e.ReportingController != "some-controller" {
		t.Errorf("event = %+v", e)
	}
	if len(e.Message) > maxMessage || strings.Contains(e.Message, "pl4nted") {
		t.Errorf("the message has %d bytes and begins %q", len(e.Message), e.Message[:20])
	}
	want := map[string]string{"/revision": "v1", "event.toolkit.fluxcd.io/change_request": "42"}
	if diff := cmp.Diff(want, e.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestRetriedUntilTaken(t *testing.T) {
	address, got := receiver(t, http.StatusServiceUnavailable, 1)
	r := recorder(t, address)
	defer start(t, r)()
	r.Normal(object(), "One", "m", nil)
	r.Normal(object(), "Two", "m", nil)
	if first, second := <-got, <-got; first.Reason != "One" || second.Reason != "Two" {
		t.Errorf("arrived as %s, %s", first.Reason, second.Reason)
	}
}

func TestRefusedIsNotRetried(t *testing.T) {
	for _, code := range []int{http.StatusBadRequest, http.StatusTooManyRequests} {
		address, got := receiver(t, code, 1)
		r := recorder(t, address)
		stop := start(t, r)
		r.Normal(object(), "One", "m", nil)
		r.Normal(object(), "Two", "m", nil)
		if first := <-got; first.Reason != "Two" {
			t.Errorf("after %d the first to arrive is %s", code, first.Reason)
		}
		stop()
	}
}

// A dead receiver costs the oldest info, and never an error while info is left.
func TestFullQueueKeepsErrors(t *testing.T) {
	r := recorder(t, "http://127.0.0.1:1/")
	begin := time.Now()
	r.Warning(object(), "Error", "m", nil)
	for range 2 * maxQueued {
		r.Normal(object(), "Info", "m", nil)
	}
	if len(r.queue.waiting) != maxQueued || r.queue.waiting[0].Reason != "Error" {
		t.Errorf("%d wait, the first is %s", len(r.queue.waiting), r.queue.waiting[0].Reason)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("recording took %s", took)
	}
}

// While nobody listens, recording costs next to nothing and memory is bounded;
// when somebody does again, every error arrives.
func TestLongOutage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := recorder(t, "http://"+address+"/")
	stop := start(t, r)
	defer stop()
	const errs = 300
	long := strings.Repeat("x", 30_000)
	var slowest time.Duration
	for i := range errs {
		for range 10 {
			begin := time.Now()
			r.Normal(object(), "Info", long, nil)
			slowest = max(slowest, time.Since(begin))
		}
		r.Warning(object(), "Error", strconv.Itoa(i), nil)
	}
	r.queue.mu.Lock()
	waiting, bytes := len(r.queue.waiting), r.queue.bytes
	r.queue.mu.Unlock()
	if waiting > maxQueued || bytes > maxBytes {
		t.Errorf("%d events of %d bytes wait, want at most %d and %d", waiting, bytes, maxQueued, maxBytes)
	}
	if slowest > 5*time.Second { // it never waits for the receiver, which would take that long
		t.Errorf("recording an event took %s", slowest)
	}
	got := make(chan string, 2*maxQueued)
	l, err = net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e eventv1.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		if e.Severity == eventv1.EventSeverityError {
			got <- e.Message
		}
		w.WriteHeader(http.StatusAccepted)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	for i := range errs {
		if m := <-got; m != strconv.Itoa(i) {
			t.Fatalf("error %s arrived, want %d", m, i)
		}
	}
}

// The queue is bounded in bytes as well.
func TestQueueIsBoundedInBytes(t *testing.T) {
	r := recorder(t, "http://127.0.0.1:1/")
	for range maxBytes/maxMessage + 100 {
		r.Warning(object(), "Error", strings.Repeat("x", maxMessage), nil)
	}
	if r.queue.bytes > maxBytes || len(r.queue.waiting) < maxBytes/maxMessage/2 {
		t.Errorf("%d events of %d bytes wait", len(r.queue.waiting), r.queue.bytes)
	}
	for {
		if _, ok := r.queue.pop(); !ok {
			break
		}
	}
	if r.queue.bytes != 0 {
		t.Errorf("an empty queue counts %d bytes", r.queue.bytes)
	}
}

// A token is read for each event, as it is renewed, and a refusal is no end.
func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	asked, got := make(chan struct{}, 10), make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := r.Header.Get("Authorization"); h != "Bearer the-second-token" {
			w.WriteHeader(http.StatusUnauthorized)
			asked <- struct{}{}
			return
		}
		var e eventv1.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		got <- e.Reason
	}))
	t.Cleanup(server.Close)
	if err := os.WriteFile(file, []byte("the-first-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := recorder(t, server.URL)
	r.queue.tokenFile = file
	defer start(t, r)()
	r.Warning(object(), "One", "m", nil)
	<-asked
	if err := os.WriteFile(file, []byte("the-second-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if reason := <-got; reason != "One" {
		t.Errorf("%s arrived", reason)
	}
	if text := secrets.Redact("the-second-token"); strings.Contains(text, "second") {
		t.Error("the token is not redacted")
	}
}
