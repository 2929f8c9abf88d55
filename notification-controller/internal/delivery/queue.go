// Package delivery brings events from this process to the Providers, and
// loses none on the way.
//
// A job is one event for one Provider. Add returns when its jobs are synced to
// disk. Each Provider with jobs has a lane of its own, a goroutine that sends
// them in order and waits longer after each failure, so a Provider that does
// not answer delays no other. A job leaves the disk when the Provider has
// taken it, when no further attempt can help, or when it is too old; the last
// two are reported. After a crash a job that was under way is sent again:
// delivery is at least once.
//
// Jobs of Alerts that ask for it are folded on their way in, see window.
//
// Every replica delivers what it has accepted itself; no leader is needed.
package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
)

// Job is one event on its way to one Provider.
type Job struct {
	Provider types.NamespacedName `json:"provider"`
	Alert    types.NamespacedName `json:"alert"`
	// Labels are label sets of which the event's object must carry one; empty
	// means that its labels do not matter.
	Labels []map[string]string `json:"labels,omitempty"`
	Event  eventv1.Event       `json:"event"`
	// Accepted is when the event came in.
	Accepted time.Time `json:"accepted"`
	// Fold is how long events of one object are folded; 0 tells each.
	Fold time.Duration `json:"fold,omitempty"`
}

// ErrFull reports that there is no room for a job, and none can be made.
var ErrFull = errors.New("the event queue is full of errors that wait for their providers")

// Options of a Queue.
type Options struct {
	// Dir holds the queue's file. Required, and of this process alone.
	Dir string
	// Send makes one attempt. A provider.Failure says whether another one can
	// help and when. Required.
	Send func(ctx context.Context, job *Job) error
	// Failed is told of attempts that failed: of the last one of each job
	// (given up), and now and then of those in between. nil tells nobody.
	Failed func(job *Job, err error, gaveUp bool)
	// MaxJobs and MaxBytes bound what waits; 0 means 50,000 jobs and 256 MiB.
	// When there is no more room, the oldest info event goes. Errors are never
	// dropped: while they fill all room, Add takes no more of them.
	MaxJobs  int
	MaxBytes int64
	// MaxAge is how long a job is tried; 0 means a day.
	MaxAge time.Duration
	// Backoff says how long a lane waits after that many failures in a row; nil
	// doubles from one second to five minutes, with jitter.
	Backoff func(failures int) time.Duration
	Now     func() time.Time // of windows; nil is time.Now
	Log     logr.Logger
}

func (o *Options) defaults() {
	if o.Failed == nil {
		o.Failed = func(*Job, error, bool) {}
	}
	if o.MaxJobs == 0 {
		o.MaxJobs = 50_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.MaxAge == 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Queue holds jobs until they are delivered. It is safe for concurrent use.
type Queue struct {
	o      Options
	store  *store
	folder *folder

	mu      sync.Mutex
	lanes   map[types.NamespacedName]*lane
	bytes   int64           // with what is being written
	count   int             // likewise
	order   [2]list         // by class
	running context.Context // of Start; nil before
	work    sync.WaitGroup
}

// Open opens the queue and reads what an earlier process left in it.
func Open(o Options) (*Queue, error) {
	o.defaults()
	s, err := openStore(o.Dir, func(err error) { o.Log.Error(err, "removing events") })
	if err != nil {
		return nil, err
	}
	q := &Queue{o: o, store: s, folder: newFolder(o.Now), lanes: map[types.NamespacedName]*lane{}}
	unreadable, err := s.each(func(id uint64, size int, j *Job) {
		q.count, q.bytes = q.count+1, q.bytes+int64(size)
		q.insert(id, size, j)
	})
	if err == nil {
		err = s.eachWindow(q.folder.set)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if unreadable > 0 {
		o.Log.Error(ErrStore, "events of an unknown format were removed", "count", unreadable)
	}
	o.Log.Info("event queue opened", "waiting", q.count, "bytes", q.bytes)
	return q, nil
}

// Close releases the file. Start must have returned.
func (q *Queue) Close() error { return q.store.close() }

// Add keeps jobs. When it returns nil they are on disk, all of them, or folded
// with others there. An info event for which there is no room is dropped and
// counted; an error gives ErrFull.
func (q *Queue) Add(jobs []Job) error {
	tell, changed := q.folder.take(jobs)
	err := q.keep(tell, changed)
	if err != nil {
		q.folder.forget(changed)
	}
	return err
}

// Repeat counts jobs that were refused because they say what was told a short
// while ago. It keeps nothing but their number, in memory.
func (q *Queue) Repeat(jobs []Job) { q.folder.repeat(jobs) }

// keep writes jobs and the state of windows.
func (q *Queue) keep(jobs []Job, changed []string) error {
	if len(jobs)+len(changed) == 0 {
		return nil
	}
	values, size := make([][]byte, len(jobs)), int64(0)
	for i := range jobs {
		v, err := json.Marshal(&jobs[i])
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		values[i] = v
		size += int64(len(v))
	}
	victims, fits := q.reserve(len(jobs), size)
	q.store.remove(victims...)
	if !fits {
		if slices.ContainsFunc(jobs, func(j Job) bool { return failing(&j) }) {
			return ErrFull
		}
		dropped.WithLabelValues(classNames[classInfo]).Add(float64(len(jobs)))
		jobs, values, size = nil, nil, 0
	}
	ids, err := q.store.add(values, changed, q.folder.encode)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		q.count, q.bytes = q.count-len(jobs), q.bytes-size
		return err
	}
	accepted.Add(float64(len(jobs)))
	for i := range jobs {
		q.insert(ids[i], len(values[i]), &jobs[i]).lane.wake()
	}
	return nil
}

// reserve makes room by dropping info events, the oldest first, and takes it.
// It returns the numbers of those dropped, for the disk.
func (q *Queue) reserve(jobs int, size int64) (victims []uint64, fits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count, q.bytes = q.count+jobs, q.bytes+size
	for _, e := range q.order[classInfo].items {
		if q.fits() {
			break
		}
		if e.gone || e.busy {
			continue
		}
		q.drop(e)
		victims = append(victims, e.id)
		dropped.WithLabelValues(classNames[classInfo]).Inc()
	}
	if q.fits() {
		return victims, true
	}
	q.count, q.bytes = q.count-jobs, q.bytes-size
	return victims, false
}

func (q *Queue) fits() bool { return q.count <= q.o.MaxJobs && q.bytes <= q.o.MaxBytes }

// Wake makes the lane of a Provider try again at once, because the Provider
// has changed.
func (q *Queue) Wake(p types.NamespacedName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.lanes[p]; l != nil {
		l.until = time.Time{}
		for _, e := range l.jobs.items {
			e.due = time.Time{}
		}
		l.wake()
	}
}

// Waiting returns how many jobs are kept.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// NeedLeaderElection is false: every replica delivers what it accepted.
func (q *Queue) NeedLeaderElection() bool { return false }

// Start delivers until ctx ends, then waits for the attempts under way, which
// end with ctx. It implements manager.Runnable and is called once.
func (q *Queue) Start(ctx context.Context) error {
	q.mu.Lock()
	q.running = ctx
	for _, l := range q.lanes {
		q.launch(l)
	}
	q.mu.Unlock()
	q.fold(ctx)
	q.mu.Lock()
	q.running = nil // no further lane starts
	q.mu.Unlock()
	q.work.Wait()
	return nil
}

// insert makes the entry of a job that is counted already. The lock is held,
// or q is not shared yet.
func (q *Queue) insert(id uint64, size int, j *Job) *entry {
	e := &entry{id: id, accepted: j.Accepted, size: int64(size), class: classInfo}
	if j.Event.Severity == eventv1.EventSeverityError {
		e.class = classError
	}
	l := q.lanes[j.Provider]
	if l == nil {
		l = newLane(j.Provider)
		q.lanes[j.Provider] = l
		q.launch(l)
	}
	e.lane = l
	l.jobs.add(e)
	q.order[e.class].add(e)
	waiting.Set(float64(q.count))
	return e
}

// drop takes an entry out of memory. The lock is held.
func (q *Queue) drop(e *entry) {
	if e.gone {
		return
	}
	e.gone = true
	q.count--
	q.bytes -= e.size
	waiting.Set(float64(q.count))
	e.lane.jobs.sweep()
	q.order[e.class].sweep()
}
