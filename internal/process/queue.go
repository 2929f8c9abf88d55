package process

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// queue is a controller's queue that knows how long its items have been due.
type queue struct {
	priorityqueue.PriorityQueue[reconcile.Request]

	mu  sync.Mutex
	due map[reconcile.Request]time.Time // of what waits

	end  sync.Once
	over chan struct{} // closed by ShutDown
}

// newQueue makes the queue of a controller.
func newQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request], log logr.Logger) *queue {
	q := &queue{due: map[reconcile.Request]time.Time{}, over: make(chan struct{})}
	q.PriorityQueue = priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) {
		o.Log = log.WithValues("controller", name)
		o.RateLimiter = noting{limiter, q}
	})
	return q
}

// noting tells a queue of the delays that its limiter decides on.
type noting struct {
	workqueue.TypedRateLimiter[reconcile.Request]
	q *queue
}

// When implements workqueue.TypedRateLimiter.
func (n noting) When(item reconcile.Request) time.Duration {
	after := n.TypedRateLimiter.When(item)
	n.q.note(after, item)
	return after
}

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q *queue) AddWithOpts(o priorityqueue.AddOpts, items ...reconcile.Request) {
	if !o.RateLimited || o.After > 0 {
		q.note(o.After, items...)
	}
	q.PriorityQueue.AddWithOpts(o, items...)
}

// Add implements workqueue.TypedInterface.
func (q *queue) Add(item reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, item) }

// AddAfter implements workqueue.TypedDelayingInterface.
func (q *queue) AddAfter(item reconcile.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, item)
}

// AddRateLimited implements workqueue.TypedRateLimitingInterface.
func (q *queue) AddRateLimited(item reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, item)
}

// Get implements workqueue.TypedInterface.
func (q *queue) Get() (reconcile.Request, bool) {
	item, _, shutdown := q.GetWithPriority()
	return item, shutdown
}

// GetWithPriority implements priorityqueue.PriorityQueue.
func (q *queue) GetWithPriority() (item reconcile.Request, priority int, shutdown bool) {
	type got struct {
		item     reconcile.Request
		priority int
		shutdown bool
	}
	next := make(chan got, 1)
	go func() {
		item, priority, shutdown := q.PriorityQueue.GetWithPriority()
		next <- got{item, priority, shutdown}
	}()
	select {
	case g := <-next:
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.due, g.item)
		return g.item, g.priority, g.shutdown
	case <-q.over:
		return reconcile.Request{}, 0, true
	}
}

// ShutDown implements workqueue.TypedInterface. A queue that is about to hand out an
// item at that moment waits for ever, with its lock held, for somebody to take it.
// So workers, for whose end the program waits, leave it by themselves.
func (q *queue) ShutDown() {
	q.end.Do(func() { close(q.over) })
	q.PriorityQueue.ShutDown()
}

// Done implements workqueue.TypedInterface.
func (q *queue) Done(item reconcile.Request) {
	noted := make(chan struct{})
	go func() {
		q.PriorityQueue.Done(item)
		close(noted)
	}()
	select {
	case <-noted:
	case <-q.over:
	}
}

// note remembers the earliest time at which an item is due.
func (q *queue) note(after time.Duration, items ...reconcile.Request) {
	at := time.Now().Add(after)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, item := range items {
		if old, ok := q.due[item]; !ok || at.Before(old) {
			q.due[item] = at
		}
	}
}

// load says how many items are there, how many of them are due, and for how
// long the oldest has been.
func (q *queue) load(now time.Time) (all, due int, oldest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range q.due {
		if waited := now.Sub(at); waited >= 0 {
			due++
			oldest = max(oldest, waited)
		}
	}
	return len(q.due), due, oldest
}

// queues are those of a program, by the names of the controllers. It is a
// prometheus.Collector.
type queues struct {
	log logr.Logger
	mu  sync.Mutex
	all map[string]*queue
}

var oldestDue = prometheus.NewDesc("weir_queue_oldest_seconds",
	"How long the object that has waited longest in a controller's queue has been due, in seconds.", []string{"controller"}, nil)

// make implements controller.Options.NewQueue.
func (s *queues) make(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	if s == nil { // an Env that no program has made, as in tests
		return newQueue(name, limiter, logr.Discard())
	}
	q := newQueue(name, limiter, s.log)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*queue{}
	}
	s.all[name] = q
	return q
}

func (s *queues) each(fn func(name string, all, due int, oldest time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for name, q := range s.all {
		all, due, oldest := q.load(now)
		fn(name, all, due, oldest)
	}
}

// Describe implements prometheus.Collector.
func (s *queues) Describe(out chan<- *prometheus.Desc) { out <- oldestDue }

// Collect implements prometheus.Collector.
func (s *queues) Collect(out chan<- prometheus.Metric) {
	s.each(func(name string, _, _ int, oldest time.Duration) {
		out <- prometheus.MustNewConstMetric(oldestDue, prometheus.GaugeValue, oldest.Seconds(), name)
	})
}

// state is the section of /debug/state.
func (s *queues) state() any {
	type load struct {
		Scheduled     int     `json:"scheduled"` // due ones among them
		Due           int     `json:"due"`
		OldestSeconds float64 `json:"oldestSeconds"`
	}
	out := map[string]load{}
	s.each(func(name string, all, due int, oldest time.Duration) { out[name] = load{all, due, oldest.Seconds()} })
	return out
}
