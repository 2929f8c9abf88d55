package process

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/weirhq/weir/internal/telemetry"
)

// trace switches the export of traces on, if there is a place for them.
func (o *options) trace(ctx context.Context, p *Program) (stop func(), err error) {
	host, err := os.Hostname()
	if err != nil {
		host = p.Name
	}
	return telemetry.Export(ctx, telemetry.ExportOptions{
		Service: p.Name, Namespace: os.Getenv("RUNTIME_NAMESPACE"), Instance: host,
		Endpoint: o.tracesEndpoint, Getenv: os.Getenv, Log: ctrl.Log.WithName("traces"),
	})
}

// measure registers the metrics and the sections of /debug/state that all
// programs have.
func (e *Env) measure(p *Program) error {
	objects := &resources{
		kinds: p.Kinds, scheme: e.Manager.GetScheme(), cache: e.Manager.GetCache(), leads: e.Manager.Elected(), schedule: e.Schedule,
	}
	for _, c := range []prometheus.Collector{objects, e.queues, e.Recorder} {
		if err := metrics.Registry.Register(c); err != nil {
			return err
		}
	}
	start := time.Now()
	e.State.Add("process", func() any { return e.describe(start) })
	e.State.Add("queues", e.queues.state)
	e.State.Add("objects", objects.state)
	e.State.Add("events", e.Recorder.State)
	return nil
}

// describe is the section of the process itself.
func (e *Env) describe(start time.Time) any {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	leads := false
	select {
	case <-e.Manager.Elected():
		leads = true
	default:
	}
	return struct {
		Name       string    `json:"name"`
		Go         string    `json:"go"`
		Started    time.Time `json:"started"`
		Leads      bool      `json:"leads"`
		Concurrent int       `json:"concurrent"`
		Goroutines int       `json:"goroutines"`
		HeapBytes  uint64    `json:"heapBytes"`
		SysBytes   uint64    `json:"sysBytes"`
		LimitBytes int64     `json:"limitBytes"` // GOMEMLIMIT
	}{e.Name, runtime.Version(), start.UTC().Truncate(time.Second), leads, e.Concurrent, runtime.NumGoroutine(), m.HeapAlloc, m.Sys, debug.SetMemoryLimit(-1)}
}

// state is the section of the objects in the cache, by kind.
func (r *resources) state() any {
	type kind struct {
		All       int `json:"all"`
		Ready     int `json:"ready"`
		Failing   int `json:"failing"`
		Suspended int `json:"suspended"`
		// Error says why they cannot be counted.
		Error string `json:"error,omitempty"`
	}
	ctx, cancel := context.WithTimeout(context.Background(), telemetry.SectionTime)
	defer cancel()
	out := map[string]kind{}
	for _, obj := range r.kinds {
		gvk, err := apiutil.GVKForObject(obj, r.scheme)
		if err != nil {
			continue
		}
		var k kind
		err = r.each(ctx, gvk, func(o client.Object) {
			f := factsOf(o)
			k.All++
			switch {
			case f.suspended:
				k.Suspended++
			case f.ready == "True":
				k.Ready++
			case f.ready == "False":
				k.Failing++
			}
		})
		if err != nil {
			k.Error = err.Error()
		}
		out[gvk.Kind] = k
	}
	return out
}
