package delivery

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	accepted  = counter("weir_notifications_accepted_total", "Notifications (an event for one provider) written to the queue.")
	delivered = counter("weir_notifications_delivered_total", "Notifications that a provider has taken.")
	retried   = counter("weir_notifications_retried_total", "Attempts that failed and are made again.")
	failed    = counter("weir_notifications_failed_total", "Notifications given up: refused for good, or too old.")
	waiting   = prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_notifications_waiting", Help: "Notifications in the queue."})
	dropped   = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_notifications_dropped_total", Help: "Notifications dropped because the queue was full, by severity.",
	}, []string{"severity"})
)

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func init() {
	metrics.Registry.MustRegister(accepted, delivered, retried, failed, waiting, dropped)
	for _, class := range classNames {
		dropped.WithLabelValues(class) // a series that begins at 1 has no increase
	}
}
