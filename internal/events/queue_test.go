package events

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
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
