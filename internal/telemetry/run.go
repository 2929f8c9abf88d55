package telemetry

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// The phases of a run.
const (
	Poll   = "poll"   // asking whether there is something new
	Fetch  = "fetch"  // getting content from outside, or an artifact
	Verify = "verify" // checking signatures
	Pack   = "pack"   // making and storing an artifact
	Build  = "build"  // making objects of an artifact
	Apply  = "apply"  // writing them to the cluster
	Prune  = "prune"  // deleting what left the source
	Health = "health" // from the apply until all is healthy
	Scan   = "scan"   // listing the tags of an image
	Select = "select" // picking a tag
	Edit   = "edit"   // writing tags into files
	Commit = "commit" // committing and pushing
	Notify = "notify" // one attempt to tell an event
)

// maxPhases bounds what is kept of one run for its trace.
const maxPhases = 32

var phases = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "weir_phase_duration_seconds",
	Help:    "How long a phase of a reconciliation took, in seconds.",
	Buckets: prometheus.ExponentialBucketsRange(1e-3, 600, 12),
}, []string{"kind", "phase"})

func init() { metrics.Registry.MustRegister(phases) }

// Object names an object of the toolkit.
type Object struct{ Kind, Namespace, Name string }

// Run is one reconciliation of one object, as it is measured.
type Run struct {
	object Object
	start  time.Time

	mu    sync.Mutex
	now   phase // without a name between phases
	past  []phase
	ended time.Time
}

type phase struct {
	name       string
	start, end time.Time
}

type runKey struct{}

// Begin starts to measure a run. The returned context is for the work.
func Begin(ctx context.Context, o Object) (context.Context, *Run) {
	r := &Run{object: o, start: time.Now()}
	return context.WithValue(ctx, runKey{}, r), r
}

// Enter says that the run of ctx is in a phase from now on; if it is in it
// already, it goes on. Without a run it does nothing.
func Enter(ctx context.Context, name string) {
	if r, ok := ctx.Value(runKey{}).(*Run); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.enter(name)
	}
}

// Waited says that a phase that began at since, perhaps in an earlier run, is
// over now.
func Waited(ctx context.Context, name string, since time.Time) {
	if r, ok := ctx.Value(runKey{}).(*Run); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.close(phase{name, since, time.Now()})
	}
}

// Observe counts a phase that belongs to no run.
func Observe(kind, name string, since time.Time) {
	phases.WithLabelValues(kind, name).Observe(time.Since(since).Seconds())
}

// End closes the last phase.
func (r *Run) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enter("")
	r.ended = time.Now()
}

func (r *Run) enter(name string) {
	if r.now.name == name {
		return
	}
	now := time.Now()
	if r.now.name != "" {
		r.close(phase{r.now.name, r.now.start, now})
	}
	r.now = phase{name: name, start: now}
}

func (r *Run) close(p phase) {
	phases.WithLabelValues(r.object.Kind, p.name).Observe(p.end.Sub(p.start).Seconds())
	if len(r.past) < maxPhases {
		r.past = append(r.past, p)
	}
}
