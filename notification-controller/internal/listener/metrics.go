package listener

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Metrics are those of one server: <prefix>_http_request_duration_seconds,
// <prefix>_http_response_size_bytes and <prefix>_http_requests_inflight.
type Metrics struct {
	duration, size *prometheus.HistogramVec
	inflight       *prometheus.GaugeVec
	paths          bool
}

// NewMetrics registers the metrics of a server with the controller's
// registry. With paths, the label handler holds the path of each request,
// which makes a series of each path; otherwise it is empty.
func NewMetrics(prefix string, paths bool) *Metrics {
	labels := []string{"service", "handler", "method", "code"}
	m := &Metrics{
		paths: paths,
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "_http_request_duration_seconds", Help: "The latency of the HTTP requests.", Buckets: prometheus.DefBuckets,
		}, labels),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "_http_response_size_bytes", Help: "The size of the HTTP responses.", Buckets: prometheus.ExponentialBuckets(100, 10, 8),
		}, labels),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "_http_requests_inflight", Help: "The number of HTTP requests under way.",
		}, []string{"service", "handler"}),
	}
	metrics.Registry.MustRegister(m.duration, m.size, m.inflight)
	return m
}

// Wrap counts the requests that h answers.
func (m *Metrics) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := ""
		if m.paths {
			path = r.URL.Path
		}
		inflight := m.inflight.WithLabelValues("", path)
		inflight.Inc()
		defer inflight.Dec()
		started := time.Now()
		counted := &counter{ResponseWriter: w, code: http.StatusOK}
		h.ServeHTTP(counted, r)
		labels := []string{"", path, method(r.Method), strconv.Itoa(counted.code)}
		m.duration.WithLabelValues(labels...).Observe(time.Since(started).Seconds())
		m.size.WithLabelValues(labels...).Observe(float64(counted.size))
	})
}

// method keeps made-up methods from making series.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions:
		return m
	}
	return "other"
}

type counter struct {
	http.ResponseWriter
	code, size int
}

func (c *counter) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.size += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
