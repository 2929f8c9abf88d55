package intake

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"
)

const (
	// MaxBody bounds the body of a request, in bytes.
	MaxBody = 3 << 20
	// maxReading bounds the bodies that are held in memory at once.
	maxReading = 128
)

// Options of a Handler; all but Now are required.
type Options struct {
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
	reading chan struct{}
}

// NewHandler returns the handler of the event endpoint.
func NewHandler(o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Handler{o: o, limiter: newLimiter(o.Interval, o.Now), reading: make(chan struct{}, maxReading)}
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
	event, err := h.read(w, r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	h.take(w, r, event)
}

func (h *Handler) read(w http.ResponseWriter, r *http.Request) (*eventv1.Event, error) {
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, errEncoding
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		return nil, err
	}
	return decode(body)
}

var errEncoding = errors.New("the body must not be compressed")

func (h *Handler) refuse(w http.ResponseWriter, err error) {
	h.o.Log.V(1).Info("an event was refused", "error", err.Error())
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		http.Error(w, "the body is larger than 3 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	if errors.Is(err, errInvalid) || errors.Is(err, errEncoding) {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	http.Error(w, "the body could not be read", http.StatusBadRequest)
}

func (h *Handler) take(w http.ResponseWriter, r *http.Request, event *eventv1.Event) {
	print := fingerprintOf(event)
	if !h.limiter.admit(print) {
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
