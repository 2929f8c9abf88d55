package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/weirhq/weir/internal/secrets"
)

const (
	// maxQueued bounds the messages that wait for the notification-controller.
	maxQueued = 1000
	// maxBytes bounds what they hold, in bytes of text.
	maxBytes = 16 << 20
	// postTimeout bounds one attempt to deliver a message.
	postTimeout = 5 * time.Second
	// drain is how long a stopping process goes on delivering.
	drain                    = 2 * time.Second
	minPause, maxPause       = 500 * time.Millisecond, 30 * time.Second
	responseLimit      int64 = 4 << 10
)

var dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "weir_events_dropped_total",
	Help: "Events that could not be posted to the notification-controller, by severity.",
}, []string{"severity"})

var posted = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "weir_events_posted_total",
	Help: "Events that the notification-controller has taken, or had already.",
})

func init() {
	metrics.Registry.MustRegister(dropped, posted)
	for _, severity := range []string{eventv1.EventSeverityInfo, eventv1.EventSeverityError} {
		dropped.WithLabelValues(severity) // a series that begins at 1 has no increase
	}
}

// queue holds messages in order until the receiver takes them.
type queue struct {
	address, controller, tokenFile string
	log                            logr.Logger
	client                         *http.Client
	wake                           chan struct{} // capacity 1

	mu      sync.Mutex
	waiting []eventv1.Event
	bytes   int // of the text of those that wait
}

func newQueue(o Options) *queue {
	return &queue{
		address:    o.Address,
		controller: o.Controller,
		tokenFile:  o.TokenFile,
		log:        o.Log,
		client:     &http.Client{Timeout: postTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute}},
		wake:       make(chan struct{}, 1),
	}
}

// push adds a message. When the queue is full the oldest info goes, and only
// if there is none the oldest error.
func (q *queue) push(e eventv1.Event) {
	q.mu.Lock()
	q.waiting = append(q.waiting, e)
	q.bytes += size(&e)
	q.shrink()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// shrink drops messages until the rest fits.
func (q *queue) shrink() {
	for len(q.waiting) > maxQueued || q.bytes > maxBytes && len(q.waiting) > 1 {
		victim := 0
		for i, e := range q.waiting {
			if e.Severity == eventv1.EventSeverityInfo {
				victim = i
				break
			}
		}
		dropped.WithLabelValues(q.waiting[victim].Severity).Inc()
		q.bytes -= size(&q.waiting[victim])
		q.waiting = append(q.waiting[:victim], q.waiting[victim+1:]...)
	}
}

// size is what a message weighs.
func size(e *eventv1.Event) int {
	n := len(e.Message) + 200
	for k, v := range e.Metadata {
		n += len(k) + len(v)
	}
	return n
}

// pop takes the oldest message out; it comes back through unpop when it could
// not be delivered, so a full queue never drops the one under way twice.
func (q *queue) pop() (eventv1.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return eventv1.Event{}, false
	}
	e := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.bytes -= size(&e)
	return e, true
}

func (q *queue) unpop(e eventv1.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append([]eventv1.Event{e}, q.waiting...)
	q.bytes += size(&e)
	q.shrink()
}

// Start posts messages until ctx ends, then goes on for two seconds with what
// is left. It implements manager.Runnable.
func (r *Recorder) Start(ctx context.Context) error {
	if r.queue == nil {
		return nil
	}
	r.queue.run(ctx)
	return nil
}

// NeedLeaderElection is false: standbys record events as well.
func (r *Recorder) NeedLeaderElection() bool { return false }

func (q *queue) run(ctx context.Context) {
	last, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drain, stop) })()
	pause := minPause
	for {
		e, ok := q.pop()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-q.wake:
			}
			continue
		}
		if err := q.post(last, e); err == nil {
			pause = minPause
			continue
		} else if last.Err() == nil {
			q.log.Error(err, "posting an event; it will be tried again", "after", pause.String())
		}
		q.unpop(e)
		select {
		case <-last.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// post delivers one message. An answer that no further attempt would change
// ends the matter: 429 means that the receiver has the same message already.
func (q *queue) post(ctx context.Context, e eventv1.Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		q.log.Error(err, "encoding an event")
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.address, bytes.NewReader(body))
	if err != nil {
		q.log.Error(err, "the address of the notification-controller cannot be used")
		return nil
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", q.controller)
	if err := q.show(req); err != nil {
		return err
	}
	resp, err := q.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, responseLimit)) // only explains a refusal
	switch {
	case resp.StatusCode < 300, resp.StatusCode == http.StatusTooManyRequests:
		posted.Inc()
		return nil
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the notification-controller answered %s", resp.Status)
	}
	dropped.WithLabelValues(e.Severity).Inc()
	q.log.Error(fmt.Errorf("the notification-controller answered %s: %s", resp.Status, bytes.TrimSpace(text)), "an event was refused")
	return nil
}

// show adds the token that the notification-controller may ask for. It is read
// each time, because it is renewed.
func (q *queue) show(req *http.Request) error {
	if q.tokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(q.tokenFile)
	if err != nil {
		return fmt.Errorf("reading the token of --events-token-file: %w", err)
	}
	text := strings.TrimSpace(string(token))
	secrets.Register(text)
	req.Header.Set("Authorization", "Bearer "+text)
	return nil
}
