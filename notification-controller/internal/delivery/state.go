package delivery

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxShown bounds the lanes that State shows.
const maxShown = 100

var oldestJob = prometheus.NewDesc("weir_notifications_oldest_seconds",
	"For how long the notification that has waited longest has been in the queue; 0 if none is.", nil, nil)

// LaneState is what State shows of the lane of one Provider.
type LaneState struct {
	Provider string `json:"provider"`
	Waiting  int    `json:"waiting"`
	Failures int    `json:"failures"` // in a row
	// PausedSeconds is how long nothing will be sent because of them.
	PausedSeconds float64 `json:"pausedSeconds"`
}

// State is what a Queue holds.
type State struct {
	Waiting       int         `json:"waiting"`
	Bytes         int64       `json:"bytes"`
	MaxJobs       int         `json:"maxJobs"`
	MaxBytes      int64       `json:"maxBytes"`
	OldestSeconds float64     `json:"oldestSeconds"`
	Lanes         []LaneState `json:"lanes"`
	More          int         `json:"more,omitempty"` // lanes that are not shown
}

// State returns what the queue holds now, the fullest lanes first.
func (q *Queue) State() State {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	s := State{Waiting: q.count, Bytes: q.bytes, MaxJobs: q.o.MaxJobs, MaxBytes: q.o.MaxBytes, OldestSeconds: q.oldest(now).Seconds()}
	for _, l := range q.lanes {
		s.Lanes = append(s.Lanes, LaneState{
			Provider: l.key.String(), Waiting: len(l.jobs.items) - l.jobs.gone, Failures: l.failures, PausedSeconds: max(0, l.until.Sub(now)).Seconds(),
		})
	}
	slices.SortFunc(s.Lanes, func(a, b LaneState) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Provider, b.Provider))
	})
	if len(s.Lanes) > maxShown {
		s.Lanes, s.More = s.Lanes[:maxShown], len(s.Lanes)-maxShown
	}
	return s
}

// oldest is the age of the oldest job. The lock is held.
func (q *Queue) oldest(now time.Time) (age time.Duration) {
	for class := range q.order {
		if items := q.order[class].items; len(items) > 0 { // its first is never gone
			age = max(age, now.Sub(items[0].accepted))
		}
	}
	return age
}

// Describe implements prometheus.Collector.
func (q *Queue) Describe(out chan<- *prometheus.Desc) { out <- oldestJob }

// Collect implements prometheus.Collector.
func (q *Queue) Collect(out chan<- prometheus.Metric) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out <- prometheus.MustNewConstMetric(oldestJob, prometheus.GaugeValue, q.oldest(time.Now()).Seconds())
}
