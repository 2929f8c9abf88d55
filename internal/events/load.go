package events

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	waitingEvents = prometheus.NewDesc("weir_events_waiting", "Events that wait to be posted to the notification-controller.", nil, nil)
	oldestEvent   = prometheus.NewDesc("weir_events_oldest_seconds", "The age of the oldest event that waits to be posted; 0 if none does.", nil, nil)
)

// load says how many events wait, and since when the first of them has.
func (q *queue) load(now time.Time) (waiting int, oldest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return 0, 0
	}
	return len(q.waiting), max(0, now.Sub(q.waiting[0].Timestamp.Time))
}

func (r *Recorder) load() (waiting int, oldest time.Duration) {
	if r.queue == nil {
		return 0, 0
	}
	return r.queue.load(time.Now())
}

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(out chan<- *prometheus.Desc) { out <- waitingEvents; out <- oldestEvent }

// Collect implements prometheus.Collector.
func (r *Recorder) Collect(out chan<- prometheus.Metric) {
	waiting, oldest := r.load()
	out <- prometheus.MustNewConstMetric(waitingEvents, prometheus.GaugeValue, float64(waiting))
	out <- prometheus.MustNewConstMetric(oldestEvent, prometheus.GaugeValue, oldest.Seconds())
}

// State is what /debug/state shows of a Recorder.
func (r *Recorder) State() any {
	waiting, oldest := r.load()
	return struct {
		Posting       bool    `json:"posting"` // there is a notification-controller to tell
		Waiting       int     `json:"waiting"`
		OldestSeconds float64 `json:"oldestSeconds"`
	}{r.queue != nil, waiting, oldest.Seconds()}
}
