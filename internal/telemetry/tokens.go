package telemetry

import (
	"errors"
	"sync"

	"github.com/fluxcd/pkg/cache"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// TokenCache returns the options by which a cache of credentials exports the
// metrics of the wire API, gotk_token_*. The name tells apart the caches of a
// program: it is the label "cache".
func TokenCache(name string) []cache.Options {
	r := &latest{prometheus.WrapRegistererWith(prometheus.Labels{"cache": name}, metrics.Registry)}
	return []cache.Options{cache.WithMetricsRegisterer(r), cache.WithMetricsPrefix("gotk_token_")}
}

// latest registers collectors in the place of earlier ones of the same name.
type latest struct{ prometheus.Registerer }

// replacing keeps two caches of one name from taking each other's place at once.
var replacing sync.Mutex

// MustRegister implements prometheus.Registerer.
func (l *latest) MustRegister(collectors ...prometheus.Collector) {
	replacing.Lock()
	defer replacing.Unlock()
	for _, c := range collectors {
		err := l.Register(c)
		if earlier, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			l.Unregister(earlier.ExistingCollector)
			err = l.Register(c)
		}
		if err != nil {
			panic(err) // as the interface has it: a programming error
		}
		if vec, ok := c.(*prometheus.CounterVec); ok {
			perObject.add(vec)
		}
	}
}

// perObject are counters with a series for each object that uses credentials.
var perObject counters

type counters struct {
	mu  sync.Mutex
	all []*prometheus.CounterVec
}

func (c *counters) add(vec *prometheus.CounterVec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, vec)
}

// forget drops the series of an object. Counters without its labels have none.
func (c *counters) forget(o Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, vec := range c.all {
		vec.DeletePartialMatch(prometheus.Labels{"kind": o.Kind, "name": o.Name, "namespace": o.Namespace})
	}
}
