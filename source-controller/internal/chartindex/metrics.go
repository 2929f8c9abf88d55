package chartindex

import (
	"github.com/fluxcd/pkg/cache"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// lookUps has the name and the labels of the wire API, with the HelmRepository's
// name; its series go with that.
var lookUps = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "gotk_cache_events_total",
	Help: "Look-ups of the parsed index of a HelmRepository: cache_hit or cache_miss.",
}, []string{"event_type", "name", "namespace"})

func init() { metrics.Registry.MustRegister(lookUps) }

// CountLookUp counts a look-up for the HelmRepository of that name.
func CountLookUp(namespace, name string, hit bool) {
	event := cache.CacheEventTypeMiss
	if hit {
		event = cache.CacheEventTypeHit
	}
	lookUps.WithLabelValues(event, name, namespace).Inc()
}

// Uncount drops what was counted for a HelmRepository that is gone.
func Uncount(namespace, name string) {
	lookUps.DeletePartialMatch(prometheus.Labels{"name": name, "namespace": namespace})
}
