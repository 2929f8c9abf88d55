package receiver

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

const (
	// maxBody bounds the body of a call, in bytes.
	maxBody = 3 << 20
	// PathIndex is the field index by which a Receiver is found.
	PathIndex = ".status.webhookPath"
)

// IndexPath is the index function of PathIndex.
func IndexPath(obj client.Object) []string {
	if r, ok := obj.(*notificationv1.Receiver); ok && r.Status.WebhookPath != "" {
		return []string{r.Status.WebhookPath}
	}
	return nil
}

// Handler answers webhook calls.
type Handler struct {
	// Find returns the Receivers whose status has the path.
	Find func(ctx context.Context, path string) ([]notificationv1.Receiver, error)
	// Client reads Secrets live and lists and patches the targets.
	Client client.Client
	// Live lists targets by label, past the cache.
	Live client.Reader
	// FieldOwner owns the annotation.
	FieldOwner string
	NoCross    bool
	Log        logr.Logger
}

// answer is an error with the status that the caller gets.
type answer struct {
	code int
	err  error
}

func (a *answer) Error() string { return a.err.Error() }
func (a *answer) Unwrap() error { return a.err }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h.handle(w, r)
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	code := http.StatusInternalServerError
	if a, ok := errors.AsType[*answer](err); ok {
		code = a.code
	}
	h.Log.Info("a webhook was refused", "code", code, "error", err.Error())
	if code == http.StatusInternalServerError { // details are for the log
		http.Error(w, "not all objects could be told", code)
		return
	}
	http.Error(w, err.Error(), code)
}

func (h *Handler) handle(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &answer{http.StatusMethodNotAllowed, errors.New("webhooks are posted")}
	}
	obj, token, err := h.receiver(r.Context(), r.URL.Path)
	if err != nil {
		return err
	}
	kind, err := typeOf(obj)
	if err != nil {
		return &answer{http.StatusServiceUnavailable, errNotReady}
	}
	targets, err := targetsOf(obj, h.NoCross)
	if err != nil {
		return &answer{http.StatusServiceUnavailable, errNotReady}
	}
	call, err := read(w, r, kind, token)
	if err != nil {
		return err
	}
	if call.Ping {
		return nil
	}
	if !wanted(obj.Spec.Events, call.Event) {
		return &answer{http.StatusBadRequest, fmt.Errorf("%w: event %q is not in spec.events", ErrPayload, call.Event)}
	}
	return h.poke(r.Context(), targets, call)
}

var (
	errUnknown  = errors.New("no such webhook")
	errNotReady = errors.New("the receiver is suspended or not ready")
)

// receiver finds the Receiver of a path, and its token. The path is computed
// again from the token, so that one of an old token opens nothing.
func (h *Handler) receiver(ctx context.Context, path string) (*notificationv1.Receiver, []byte, error) {
	found, err := h.Find(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	if len(found) == 0 || !strings.HasPrefix(path, notificationv1.ReceiverWebhookPath) {
		return nil, nil, &answer{http.StatusNotFound, errUnknown}
	}
	obj := &found[0]
	if obj.Spec.Suspend || !apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.ReadyCondition) {
		return nil, nil, &answer{http.StatusServiceUnavailable, errNotReady}
	}
	token, err := tokenOf(ctx, h.Client, obj)
	if err != nil {
		h.Log.Error(err, "reading the token of a receiver", "name", obj.Name, "namespace", obj.Namespace)
		return nil, nil, &answer{http.StatusServiceUnavailable, errNotReady}
	}
	if subtle.ConstantTimeCompare([]byte(obj.GetWebhookPath(string(token))), []byte(path)) != 1 {
		return nil, nil, &answer{http.StatusNotFound, errUnknown}
	}
	return obj, token, nil
}

// read takes in the call: its bytes first, then its proof, and only then what
// it says.
func read(w http.ResponseWriter, r *http.Request, kind Type, token []byte) (Call, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return Call{}, &answer{http.StatusBadRequest, fmt.Errorf("%w: the body must not be compressed", ErrPayload)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return Call{}, &answer{http.StatusRequestEntityTooLarge, errors.New("the body is larger than 3 MiB")}
	}
	if err != nil {
		return Call{}, &answer{http.StatusBadRequest, errors.New("the body could not be read")}
	}
	request := Request{Header: r.Header, Body: body, Token: token}
	if err := kind.Authenticate(request); err != nil {
		return Call{}, &answer{http.StatusBadRequest, err}
	}
	call, err := kind.Read(request)
	if err != nil {
		return Call{}, &answer{http.StatusBadRequest, err}
	}
	call.Body = body
	return call, nil
}

func wanted(events []string, event string) bool {
	return event == "" || len(events) == 0 || slices.ContainsFunc(events, func(e string) bool { return strings.EqualFold(e, event) })
}
