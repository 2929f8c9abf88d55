package loop

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/weirhq/weir/internal/telemetry"
)

// writes remembers the resource version of the last write to each object.
type writes struct {
	mu sync.Mutex
	rv map[types.NamespacedName]uint64
}

func (w *writes) note(obj client.Object) {
	rv, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rv == nil {
		w.rv = map[types.NamespacedName]uint64{}
	}
	w.rv[client.ObjectKeyFromObject(obj)] = rv
}

// newer reports whether this process wrote a later version than the given one.
func (w *writes) newer(key types.NamespacedName, version string) bool {
	rv, err := strconv.ParseUint(version, 10, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	return err == nil && w.rv[key] > rv
}

func (w *writes) forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.rv, key)
}

// durations has the name and the labels that dashboards for the wire API
// expect; the series of deleted objects are dropped.
var durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "gotk_reconcile_duration_seconds",
	Help:    "How long a reconciliation of an object took, in seconds.",
	Buckets: prometheus.ExponentialBucketsRange(10e-3, 1800, 10),
}, []string{"kind", "name", "namespace"})

func init() { metrics.Registry.MustRegister(durations) }

func observe(kind string, key types.NamespacedName, start time.Time) {
	durations.WithLabelValues(kind, key.Name, key.Namespace).Observe(time.Since(start).Seconds())
}

func forget(kind string, key types.NamespacedName) {
	durations.DeleteLabelValues(kind, key.Name, key.Namespace)
	telemetry.Forget(telemetry.Object{Kind: kind, Namespace: key.Namespace, Name: key.Name})
}
