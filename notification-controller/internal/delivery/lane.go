package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/weirhq/weir/notification-controller/internal/provider"
)

// The classes of events, in the order in which they are dropped.
const (
	classInfo = iota
	classError
)

var classNames = [...]string{classInfo: "info", classError: "error"}

// patience is how many times a job is tried before another one of its lane
// gets its turn. If that one succeeds, the trouble is with the first job and
// not with the Provider, and the lane goes on without it.
const patience = 3

// entry is what memory holds of a job.
type entry struct {
	id       uint64
	accepted time.Time
	size     int64
	class    int
	lane     *lane
	gone     bool // delivered, given up or dropped
	busy     bool // being sent
	failures int
	due      time.Time // not before then; zero is at once
}

// list holds entries, oldest first. Those that are gone stay until enough of
// them are, so that taking one out costs a constant on average.
type list struct {
	items []*entry
	gone  int
}

func (l *list) add(e *entry) { l.items = append(l.items, e) }

// sweep is called after one entry was marked as gone.
func (l *list) sweep() {
	l.gone++
	if l.gone > 32 && l.gone > len(l.items)/2 {
		l.items = slices.DeleteFunc(slices.Clone(l.items), func(e *entry) bool { return e.gone })
		l.gone = 0
	}
	for len(l.items) > 0 && l.items[0].gone {
		l.items = l.items[1:]
		l.gone--
	}
}

// lane holds the jobs of one Provider and what is known of its health.
type lane struct {
	key      types.NamespacedName
	jobs     list
	failures int       // in a row
	until    time.Time // nothing is sent before then
	signal   chan struct{}
}

func newLane(key types.NamespacedName) *lane {
	return &lane{key: key, signal: make(chan struct{}, 1)}
}

func (l *lane) wake() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// next returns the job to send now, or how long to wait for one. Neither means
// that there is none. The queue's lock is held.
func (l *lane) next(now time.Time) (*entry, time.Duration) {
	if len(l.jobs.items) == 0 {
		return nil, 0
	}
	if wait := l.until.Sub(now); wait > 0 {
		return nil, wait
	}
	soonest := time.Duration(-1)
	for _, e := range l.jobs.items {
		if e.gone {
			continue
		}
		wait := e.due.Sub(now)
		if wait <= 0 {
			return e, 0
		}
		if soonest < 0 || wait < soonest {
			soonest = wait
		}
	}
	return nil, max(soonest, time.Millisecond)
}

// launch starts the goroutine of a lane if the queue runs. The lock is held.
func (q *Queue) launch(l *lane) {
	if q.running == nil {
		return
	}
	ctx := q.running
	q.work.Go(func() { q.run(ctx, l) })
}

// run sends the jobs of a lane until there are none.
func (q *Queue) run(ctx context.Context, l *lane) {
	for ctx.Err() == nil {
		e, wait := q.take(l)
		if e != nil {
			q.attempt(ctx, l, e)
			continue
		}
		if wait == 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.signal:
		}
		timer.Stop()
	}
}

// take returns the next job of a lane, or how long to wait. When the lane is
// empty it is removed; the next job makes a new one.
func (q *Queue) take(l *lane) (*entry, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, wait := l.next(time.Now())
	if e != nil {
		e.busy = true
	} else if wait == 0 {
		delete(q.lanes, l.key)
	}
	return e, wait
}

// attempt sends one job once and records what came of it.
func (q *Queue) attempt(ctx context.Context, l *lane, e *entry) {
	job, ok := q.store.get(e.id)
	if !ok {
		q.o.Log.Error(ErrStore, "an event is missing", "provider", l.key.String())
		q.settle(l, e)
		return
	}
	err := q.send(ctx, &job)
	switch {
	case err == nil:
		q.settle(l, e)
		delivered.Inc()
	case ctx.Err() != nil: // the process ends; the job stays
		q.release(e)
	case provider.IsFinal(err):
		q.giveUp(l, e, &job, err)
	case time.Since(job.Accepted) > q.o.MaxAge:
		q.giveUp(l, e, &job, fmt.Errorf("given up after %s: %w", q.o.MaxAge, err))
	default:
		q.delay(l, e, &job, err)
	}
}

// send turns a panic into an error, so that one event cannot stop a lane.
func (q *Queue) send(ctx context.Context, job *Job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = provider.Final(fmt.Errorf("sending an event panicked: %v", p))
		}
	}()
	return q.o.Send(ctx, job)
}

// settle removes a job that the Provider has taken.
func (q *Queue) settle(l *lane, e *entry) {
	q.store.remove(e.id)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(e)
	l.failures, l.until = 0, time.Time{}
}

func (q *Queue) giveUp(l *lane, e *entry, job *Job, err error) {
	q.store.remove(e.id)
	q.mu.Lock()
	q.drop(e)
	q.mu.Unlock()
	failed.Inc()
	q.o.Log.Error(err, "an event could not be delivered", "provider", l.key.String(), "alert", job.Alert.String())
	q.o.Failed(job, err, true)
}

func (q *Queue) release(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.busy = false
}

// delay makes the lane wait after a failure.
func (q *Queue) delay(l *lane, e *entry, job *Job, err error) {
	q.mu.Lock()
	e.busy = false
	e.failures++
	l.failures++
	failures := l.failures
	wait := max(q.o.Backoff(failures), provider.RetryAfter(err))
	l.until = time.Now().Add(wait)
	if e.failures%patience == 0 {
		e.due = l.until.Add(wait)
	}
	q.mu.Unlock()
	retried.Inc()
	q.o.Log.Info("an event will be sent again", "provider", l.key.String(), "alert", job.Alert.String(), "error", err.Error(), "after", wait.String())
	if failures&(failures-1) == 0 { // 1, 2, 4, 8, ...
		q.o.Failed(job, err, false)
	}
}

// backoff doubles from one second to five minutes; a quarter of it is chance.
func backoff(failures int) time.Duration {
	d := min(time.Second<<min(failures-1, 10), 5*time.Minute)
	return d - rand.N(d/4)
}
