package loop

import (
	"context"
	"errors"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/weirhq/weir/internal/telemetry"
)

// Follower is implemented by Workers of objects that publish no artifact: it
// names the revision that an object is at, and so the trace of its runs. It
// reads nothing but obj.
type Follower[T Object] interface {
	Follow(obj T) telemetry.Revision
}

// revision names what obj is at: its artifact, unless the Worker knows better.
func (r *Reconciler[T]) revision(obj T) telemetry.Revision {
	if f, ok := r.worker.(Follower[T]); ok {
		return f.Follow(obj)
	}
	if p, ok := any(obj).(interface{ GetArtifact() *meta.Artifact }); ok {
		if a := p.GetArtifact(); a != nil {
			return telemetry.Revision{Name: a.Revision, Digest: a.Digest}
		}
	}
	return telemetry.Revision{}
}

// trace makes a run that changed something part of the trace of its revision,
// and the log line of the run name that trace. Runs that only say again what is
// known would make traces endless.
func (r *Reconciler[T]) trace(ctx context.Context, run *telemetry.Run, before, after T, done Done, f *Failure) context.Context {
	was, is := r.revision(before), r.revision(after)
	o := telemetry.Outcome{Revision: is, First: was.Name != is.Name || was.Digest != is.Digest, Err: f.orNil()}
	if !o.First && !done.Changed && !news(before, after) {
		return ctx
	}
	if ready := apimeta.FindStatusCondition(after.GetConditions(), meta.ReadyCondition); ready != nil {
		o.Reason = ready.Reason
	}
	if id := run.Trace(o); id != "" {
		return ctrl.LoggerInto(ctx, ctrl.LoggerFrom(ctx).WithValues("traceID", id))
	}
	return ctx
}

func (r *Reconciler[T]) object(obj T) telemetry.Object {
	return telemetry.Object{Kind: r.kind(obj), Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// due says when an object should come back at the latest; the zero time is
// never.
func (r *Reconciler[T]) due(result ctrl.Result, err error) time.Time {
	switch {
	case errors.Is(err, reconcile.TerminalError(nil)):
		return time.Time{}
	case err != nil:
		return time.Now().Add(r.maxRetry)
	case result.RequeueAfter == 0:
		return time.Time{}
	}
	return time.Now().Add(result.RequeueAfter)
}
