package process

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/prometheus/client_golang/prometheus"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/weirhq/weir/internal/secrets"
)

const (
	// maxLabel bounds a label's value, in bytes.
	maxLabel = 256
	// collectTime bounds a look at the cache, which may not be filled yet.
	collectTime = 2 * time.Second
)

// Names and labels of the first three are those that dashboards for the wire
// API know: the first from the usual configuration of kube-state-metrics, the
// others from earlier versions of the controllers. A label "namespace" would be
// renamed by Prometheus, which has one of its own for the pod, so Weir's own
// metrics have it under the name that it gets anyway.
var (
	resourceInfo = prometheus.NewDesc("gotk_resource_info", "The current state of an object of the toolkit. It is always 1.",
		[]string{"customresource_group", "customresource_version", "customresource_kind", "exported_namespace", "name",
			"ready", "reason", "suspended", "revision", "source_name", "url"}, nil)
	readyStatus = prometheus.NewDesc("gotk_reconcile_condition", "Whether the condition of an object has this status (1) or not (0).",
		[]string{"kind", "name", "namespace", "type", "status"}, nil)
	suspendStatus = prometheus.NewDesc("gotk_suspend_status", "Whether an object is suspended (1) or not (0).",
		[]string{"kind", "name", "namespace"}, nil)
	artifactSize = prometheus.NewDesc("weir_artifact_size_bytes", "The size of an object's artifact.",
		[]string{"kind", "name", "exported_namespace"}, nil)
	overdue = prometheus.NewDesc("weir_resource_overdue_seconds", "For how long an object should have been reconciled again; 0 if its time has not come.",
		[]string{"kind", "name", "exported_namespace"}, nil)
)

// resources is a prometheus.Collector that reads the state of a program's
// objects out of its cache when it is asked. Nothing is kept between two
// scrapes, so a series goes with its object. Replicas that wait to lead say
// nothing.
type resources struct {
	kinds    []client.Object
	scheme   *runtime.Scheme
	cache    client.Reader
	leads    <-chan struct{}
	schedule *Schedule
}

// Describe implements prometheus.Collector.
func (r *resources) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{resourceInfo, readyStatus, suspendStatus, artifactSize, overdue} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (r *resources) Collect(out chan<- prometheus.Metric) {
	select {
	case <-r.leads:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	for _, kind := range r.kinds {
		gvk, err := apiutil.GVKForObject(kind, r.scheme)
		if err != nil {
			continue // not of this program's scheme: it would not run
		}
		_ = r.each(ctx, gvk, func(obj client.Object) { r.collect(out, gvk, obj) }) // what cannot be read is not known
	}
}

// each calls fn for all objects of a kind, which are those of the cache itself.
func (r *resources) each(ctx context.Context, gvk schema.GroupVersionKind, fn func(client.Object)) error {
	made, err := r.scheme.New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err != nil {
		return err
	}
	list := made.(client.ObjectList)
	if err := r.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	return apimeta.EachListItem(list, func(o runtime.Object) error {
		fn(o.(client.Object))
		return nil
	})
}

func (r *resources) collect(out chan<- prometheus.Metric, gvk schema.GroupVersionKind, obj client.Object) {
	f := factsOf(obj)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(resourceInfo, 1, gvk.Group, gvk.Version, gvk.Kind, obj.GetNamespace(), obj.GetName(),
		f.ready, label(f.reason), truth(f.suspended), label(f.revision), label(f.source), label(secrets.Redact(f.url)))
	id := []string{gvk.Kind, obj.GetName(), obj.GetNamespace()}
	gauge(suspendStatus, number(f.suspended), id...)
	if f.ready != "" {
		for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			gauge(readyStatus, number(f.ready == string(status)), append(id[:3:3], meta.ReadyCondition, string(status))...)
		}
	}
	if f.artifact != nil && f.artifact.Size != nil {
		gauge(artifactSize, float64(*f.artifact.Size), id...)
	}
	if late, ok := r.schedule.late(gvk.Kind, client.ObjectKeyFromObject(obj), time.Now()); ok && !f.suspended {
		gauge(overdue, late.Seconds(), id...)
	}
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func label(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel]
	}
	return strings.ToValidUTF8(s, "")
}

// Schedule knows when the objects of a program are to be reconciled next. A nil
// one knows nothing.
type Schedule struct {
	mu   sync.Mutex
	next map[scheduled]time.Time
}

type scheduled struct {
	kind string
	key  types.NamespacedName
}

// Set notes when an object is next at the latest; the zero time is never.
func (s *Schedule) Set(kind string, key types.NamespacedName, at time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.IsZero() {
		delete(s.next, scheduled{kind, key})
		return
	}
	if s.next == nil {
		s.next = map[scheduled]time.Time{}
	}
	s.next[scheduled{kind, key}] = at
}

// late says for how long an object has been due, if it is to come at all.
func (s *Schedule) late(kind string, key types.NamespacedName, now time.Time) (time.Duration, bool) {
	if s == nil {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.next[scheduled{kind, key}]
	return max(0, now.Sub(at)), ok
}
