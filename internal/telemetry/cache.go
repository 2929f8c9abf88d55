package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var cacheEvents = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "weir_cache_requests_total",
	Help: "Requests to a cache, by whether it had the answer (hit) or not (miss).",
}, []string{"cache", "result"})

func init() { metrics.Registry.MustRegister(cacheEvents) }

// Cache counts the requests to one cache.
type Cache struct{ hits, misses prometheus.Counter }

// NewCache returns the counters of the cache with this name. Both are exported
// from then on.
func NewCache(name string) Cache {
	return Cache{cacheEvents.WithLabelValues(name, "hit"), cacheEvents.WithLabelValues(name, "miss")}
}

// Count counts one request.
func (c Cache) Count(hit bool) {
	if hit {
		c.hits.Inc()
	} else {
		c.misses.Inc()
	}
}
