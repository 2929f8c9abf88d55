package intake

import (
	"context"
	"errors"
	"net/http"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"

	"github.com/weirhq/weir/notification-controller/internal/listener"
	"github.com/weirhq/weir/notification-controller/internal/sender"
)

// Options of a Handler. Authorize, Repeat and Now may be left out.
type Options struct {
	// Authorize says whether a request with this header may post events, before
	// anything else of it is looked at; nil lets everybody.
	Authorize func(ctx context.Context, h http.Header) error
	// Repeat is told of events that were refused because they say the same as
	// one that was accepted a short while ago.
	Repeat func(event *eventv1.Event)
	// Accept keeps an event for everyone who wants it. When it returns nil the
	// event must survive the end of the process.
	Accept func(ctx context.Context, event *eventv1.Event) error
	// Interval is how long an event is not told again; 0 tells every one.
	Interval time.Duration
	Now      func() time.Time // nil is time.Now
	Log      logr.Logger
}

// Handler answers POST /.
type Handler struct {
	o       Options
	limiter *limiter
	bodies  *listener.Bodies
}

// NewHandler returns the handler of the event endpoint.
func NewHandler(o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Handler{o: o, limiter: newLimiter(o.Interval, o.Now), bodies: listener.NewBodies()}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.Error(w, "events are posted to /", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "events are posted", http.StatusMethodNotAllowed)
		return
	}
	if h.o.Authorize != nil {
		if err := h.o.Authorize(r.Context(), r.Header); err != nil {
			h.refuse(w, err)
			return
		}
	}
	body, done, err := h.bodies.Read(w, r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	defer done()
	event, err := decode(body)
	if err != nil {
		h.refuse(w, err)
		return
	}
	h.take(w, r, event)
}

// codes are the answers to events that are refused; others are 400.
var codes = map[error]int{
	listener.ErrTooLarge: http.StatusRequestEntityTooLarge,
	listener.ErrBusy:     http.StatusServiceUnavailable,
	sender.ErrToken:      http.StatusUnauthorized,
	sender.ErrAccount:    http.StatusForbidden,
	sender.ErrUnknown:    http.StatusServiceUnavailable,
}

func (h *Handler) refuse(w http.ResponseWriter, err error) {
	h.o.Log.V(1).Info("an event was refused", "error", err.Error())
	for known, code := range codes {
		if errors.Is(err, known) {
			http.Error(w, known.Error(), code)
			return
		}
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

func (h *Handler) take(w http.ResponseWriter, r *http.Request, event *eventv1.Event) {
	print := fingerprintOf(event)
	if !h.limiter.admit(print) {
		if h.o.Repeat != nil {
			h.o.Repeat(event)
		}
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	if err := h.o.Accept(r.Context(), event); err != nil {
		h.limiter.forget(print) // or the sender's next attempt would be taken for a repeat
		h.o.Log.Error(err, "an event could not be kept; its sender has to post it again",
			"kind", event.InvolvedObject.Kind, "name", event.InvolvedObject.Name, "namespace", event.InvolvedObject.Namespace)
		http.Error(w, "the event could not be kept", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
