package receiver

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
	"github.com/weirhq/weir/notification-controller/internal/listener"
)

// PathIndex is the field index by which a Receiver is found.
const PathIndex = ".status.webhookPath"

// IndexPath is the index function of PathIndex.
func IndexPath(obj client.Object) []string {
	if r, ok := obj.(*notificationv1.Receiver); ok && r.Status.WebhookPath != "" {
		return []string{r.Status.WebhookPath}
	}
	return nil
}

// Options of a Handler. Rate, RefuseShort and NoCross may be left out.
type Options struct {
	// Find returns the Receivers whose status has the path.
	Find func(ctx context.Context, path string) ([]notificationv1.Receiver, error)
	// Client reads Secrets live and patches the targets.
	Client client.Client
	// Live reads and lists targets, past the cache.
	Live client.Reader
	// Tokens verifies the tokens of senders.
	Tokens *issuer.Verifier
	// FieldOwner owns the annotation.
	FieldOwner string
	// NoCross forbids targets in other namespaces.
	NoCross bool
	// RefuseShort closes Receivers with a token that is short.
	RefuseShort bool
	// Rate is how many calls a second each path takes; 0 takes all.
	Rate float64
	Log  logr.Logger
}

// Handler answers webhook calls.
type Handler struct {
	Options
	bodies *listener.Bodies
	limits limits

	mu    sync.Mutex
	plans map[types.UID]*plan
}

// NewHandler returns the handler of the webhook endpoint.
func NewHandler(o Options) *Handler {
	return &Handler{Options: o, bodies: listener.NewBodies(), limits: limits{rate: o.Rate}, plans: map[types.UID]*plan{}}
}

// answer is an error with the status that the caller gets.
type answer struct {
	code int
	err  error
}

func (a *answer) Error() string { return a.err.Error() }
func (a *answer) Unwrap() error { return a.err }

// ServeHTTP implements http.Handler. The answer says how many objects were
// asked to reconcile.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	told, err := h.handle(w, r)
	if err == nil {
		fmt.Fprintln(w, told)
		return
	}
	code := http.StatusInternalServerError
	if a, ok := errors.AsType[*answer](err); ok {
		code = a.code
	}
	text := secrets.Redact(err.Error())
	h.Log.Info("a webhook was refused", "code", code, "error", text)
	if code == http.StatusInternalServerError { // details are for the log
		text = told.String()
	}
	http.Error(w, text, code)
}

func (h *Handler) handle(w http.ResponseWriter, r *http.Request) (outcome, error) {
	obj, err := h.receiver(r.Context(), r.URL.Path)
	if err != nil {
		return outcome{}, err
	}
	if !takes(obj.Spec.Type, r.Method) {
		w.Header().Set("Allow", http.MethodPost)
		return outcome{}, &answer{http.StatusMethodNotAllowed, errors.New("this webhook is to be posted")}
	}
	if wait := h.limits.wait(obj.UID); wait > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(wait.Seconds())+1))
		return outcome{}, &answer{http.StatusTooManyRequests, errors.New("this webhook is called too often")}
	}
	secret, err := h.secret(r.Context(), obj, r.URL.Path)
	if err != nil {
		return outcome{}, err
	}
	p := h.plan(obj)
	if p.err != nil {
		return outcome{}, &answer{http.StatusServiceUnavailable, errNotReady}
	}
	call, done, err := h.read(w, r, p.kind, secret)
	if err != nil {
		return outcome{}, err
	}
	defer done()
	if call.Ping {
		return outcome{}, nil
	}
	if !wanted(obj.Spec.Events, call.Event) {
		return outcome{}, &answer{http.StatusBadRequest, fmt.Errorf("%w: event %q is not in spec.events", ErrPayload, call.Event)}
	}
	return h.poke(r.Context(), p.targets, call)
}

var (
	errUnknown  = errors.New("no such webhook")
	errNotReady = errors.New("the receiver is suspended or not ready")
)

// receiver finds the Receiver of a path.
func (h *Handler) receiver(ctx context.Context, path string) (*notificationv1.Receiver, error) {
	if !strings.HasPrefix(path, notificationv1.ReceiverWebhookPath) {
		return nil, &answer{http.StatusNotFound, errUnknown}
	}
	found, err := h.Find(ctx, path)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &answer{http.StatusNotFound, errUnknown}
	}
	obj := &found[0]
	if obj.Spec.Suspend || !apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.ReadyCondition) {
		return nil, &answer{http.StatusServiceUnavailable, errNotReady}
	}
	return obj, nil
}

// secret reads the Receiver's Secret. The path is computed again from the
// token, so that one of an old token opens nothing.
func (h *Handler) secret(ctx context.Context, obj *notificationv1.Receiver, path string) (map[string][]byte, error) {
	secret, err := secretOf(ctx, h.Client, obj, h.RefuseShort)
	if err != nil {
		h.Log.Info("the token of a receiver cannot be used", "name", obj.Name, "namespace", obj.Namespace, "error", secrets.Redact(err.Error()))
		return nil, &answer{http.StatusServiceUnavailable, errNotReady}
	}
	if subtle.ConstantTimeCompare([]byte(obj.GetWebhookPath(string(secret[keyToken]))), []byte(path)) != 1 {
		return nil, &answer{http.StatusNotFound, errUnknown}
	}
	return secret, nil
}

// plan is a Receiver, compiled.
type plan struct {
	version string
	kind    Type
	targets []target
	err     error
}

// maxPlans bounds the compiled Receivers that are kept.
const maxPlans = 1000

// plan compiles a Receiver, once as long as it stays the same.
func (h *Handler) plan(obj *notificationv1.Receiver) *plan {
	h.mu.Lock()
	p := h.plans[obj.UID]
	h.mu.Unlock()
	if p != nil && p.version == obj.ResourceVersion {
		return p
	}
	p = &plan{version: obj.ResourceVersion}
	if p.kind, p.err = typeOf(obj, h.Tokens); p.err == nil {
		p.targets, p.err = targetsOf(obj, h.NoCross)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.plans) >= maxPlans {
		clear(h.plans)
	}
	h.plans[obj.UID] = p
	return p
}

// read takes in the call: its bytes first, then its proof, and only then what
// it says. Until done is called the bytes count as held.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, kind Type, secret map[string][]byte) (call Call, done func(), err error) {
	body, done, err := h.bodies.Read(w, r)
	if err != nil {
		code := map[error]int{listener.ErrTooLarge: http.StatusRequestEntityTooLarge, listener.ErrBusy: http.StatusServiceUnavailable}[err]
		return Call{}, nil, &answer{cmp.Or(code, http.StatusBadRequest), err}
	}
	call, err = authentic(r, kind, body, secret)
	if err != nil {
		done()
		return Call{}, nil, err
	}
	return call, done, nil
}

func authentic(r *http.Request, kind Type, body []byte, secret map[string][]byte) (Call, error) {
	request := Request{Header: r.Header, Body: body, Token: secret[keyToken], Secret: secret}
	claims, err := kind.Authenticate(r.Context(), request)
	if errors.Is(err, issuer.ErrUnreachable) { // not the caller's fault, who had better call again
		return Call{}, &answer{http.StatusServiceUnavailable, err}
	}
	if err != nil {
		return Call{}, &answer{http.StatusBadRequest, err}
	}
	call, err := kind.Read(request)
	if err != nil {
		return Call{}, &answer{http.StatusBadRequest, err}
	}
	if call.Body == nil {
		call.Body = body
	}
	call.Claims, call.JSON = claims, isJSON(r.Header)
	return call, nil
}

// takes says whether a method can set off something. Type generic is called by
// whatever can fetch a URL.
func takes(kind, method string) bool {
	return method == http.MethodPost || kind == notificationv1.GenericReceiver && (method == http.MethodGet || method == http.MethodPut)
}

// isJSON says whether the sender calls the body JSON.
func isJSON(h http.Header) bool {
	for part := range strings.SplitSeq(h.Get("Content-Type"), ",") {
		if kind, _, err := mime.ParseMediaType(part); err == nil && kind == "application/json" {
			return true
		}
	}
	return false
}

func wanted(events []string, event string) bool {
	return event == "" || len(events) == 0 || slices.ContainsFunc(events, func(e string) bool { return strings.EqualFold(e, event) })
}
