// Package events tells people and other programs what the controllers did.
//
// Each event becomes a core/v1 Event of the object it is about and, unless it
// is a trace, a message to the notification-controller in the format
// event.toolkit.fluxcd.io/v1beta1. Recording never blocks: messages go to a
// queue that is bounded in number and bytes, and one goroutine posts them, again and again until they are
// taken. So a notification-controller that is down costs a reconciliation
// nothing, and hears of the errors when it is back.
package events

import (
	"maps"
	"os"
	"strings"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/secrets"
)

// maxMessage is the longest message of the wire format, in bytes.
const maxMessage = 39000

// TokenAudience is whom the tokens are for that senders of events show.
const TokenAudience = "notification-controller"

// Options of a Recorder. Address, TokenFile and Kubernetes may be empty.
type Options struct {
	Controller string               // reportingController, such as "source-controller"
	Scheme     *runtime.Scheme      // finds the kind of an object
	Kubernetes record.EventRecorder // writes core/v1 Events; nil writes none
	Address    string               // URL of the notification-controller; "" posts nothing
	TokenFile  string               // holds a token to show to it, and is read for each event
	Log        logr.Logger
}

// Recorder records events. It is safe for concurrent use.
type Recorder struct {
	o        Options
	instance string
	queue    *queue
}

// New returns a Recorder. Its messages are posted while Start runs.
func New(o Options) *Recorder {
	host, err := os.Hostname()
	if err != nil {
		host = o.Controller
	}
	r := &Recorder{o: o, instance: host}
	if o.Address != "" {
		r.queue = newQueue(o)
	}
	return r
}

// Normal records that something happened as it should. Metadata keys are bare
// ("revision"); they are prefixed with the group of obj.
func (r *Recorder) Normal(obj client.Object, reason, message string, metadata map[string]string) {
	r.record(obj, corev1.EventTypeNormal, eventv1.EventSeverityInfo, reason, message, metadata)
}

// Warning records a failure.
func (r *Recorder) Warning(obj client.Object, reason, message string, metadata map[string]string) {
	r.record(obj, corev1.EventTypeWarning, eventv1.EventSeverityError, reason, message, metadata)
}

// Trace records what only somebody who looks at the object wants to know: it
// becomes a core/v1 Event and goes nowhere else.
func (r *Recorder) Trace(obj client.Object, reason, message string, metadata map[string]string) {
	r.record(obj, corev1.EventTypeNormal, eventv1.EventSeverityTrace, reason, message, metadata)
}

func (r *Recorder) record(obj client.Object, eventType, severity, reason, message string, metadata map[string]string) {
	ref, err := reference.GetReference(r.o.Scheme, obj)
	if err != nil {
		r.o.Log.Error(err, "recording an event", "name", obj.GetName(), "namespace", obj.GetNamespace())
		return
	}
	message = secrets.Redact(message)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	full := annotations(obj, ref.GroupVersionKind().Group, metadata)
	if r.o.Kubernetes != nil {
		r.o.Kubernetes.AnnotatedEventf(ref, full, eventType, reason, "%s", message)
	}
	if r.queue == nil || severity == eventv1.EventSeverityTrace {
		return
	}
	r.queue.push(eventv1.Event{
		InvolvedObject:      *ref,
		Severity:            severity,
		Timestamp:           metav1.NewTime(time.Now()),
		Message:             message,
		Reason:              reason,
		Metadata:            full,
		ReportingController: r.o.Controller,
		ReportingInstance:   r.instance,
	})
}

// annotations joins an event's own metadata with what the object asks to be
// copied into each of its events; the latter wins, as users wrote it.
func annotations(obj client.Object, group string, metadata map[string]string) map[string]string {
	out := make(map[string]string, len(metadata))
	for k, v := range metadata {
		if v != "" {
			out[group+"/"+k] = v
		}
	}
	own := maps.Clone(obj.GetAnnotations())
	maps.DeleteFunc(own, func(k, _ string) bool { return !strings.HasPrefix(k, eventv1.Group+"/") })
	maps.Copy(out, own)
	return out
}
