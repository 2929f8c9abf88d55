package loop

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/jitter"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/weirhq/weir/api/duration"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/telemetry"
)

// Finalizer is the one finalizer of the toolkit's kinds.
const Finalizer = "finalizers.fluxcd.io"

// reasonInvalidSpec is given to objects with a value that passed the schema
// and still cannot be used.
const reasonInvalidSpec = "InvalidSpec"

// conflictDelay is how long to wait for the cache after somebody else wrote
// the object between our read and our write.
const conflictDelay = 100 * time.Millisecond

// Priorities in the queue. Objects that something happened to come in with the
// normal one, and so get past others that are only tried again: many that fail
// do not slow down those that work.
const (
	normalPriority = 0
	retryPriority  = -5
	lowPriority    = -10
)

// Object is what every reconciled kind implements.
type Object interface {
	client.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
	GetObservedGeneration() int64
	SetObservedGeneration(int64)
	GetLastHandledReconcileAt() string
	SetLastHandledReconcileAt(string)
	// GetInterval says how often the object is looked at when nothing
	// happens; zero means never.
	GetInterval() time.Duration
	IsSuspended() bool
}

// Worker is the part that differs from kind to kind.
type Worker[T Object] interface {
	// Reconcile makes the world match obj and says what is now true. It may set
	// status fields and conditions of its kind; Ready, Reconciling, Stalled and
	// observedGeneration are not its business.
	Reconcile(ctx context.Context, obj T) (Done, error)
	// Finalize undoes what Reconcile did, before obj goes away. The finalizer
	// is released when it returns nil.
	Finalize(ctx context.Context, obj T) error
}

// Reconciler runs a Worker for the objects of one kind. It is safe for
// concurrent use by the workers of a controller.
type Reconciler[T Object] struct {
	client   client.Client
	live     client.Reader
	recorder *events.Recorder
	owner    client.FieldOwner
	worker   Worker[T]
	written  writes
	// When objects are next, and how long that takes at most after a failure.
	schedule *process.Schedule
	maxRetry time.Duration
}

// New returns a Reconciler that runs w in the process of env.
func New[T Object](env *process.Env, w Worker[T]) *Reconciler[T] {
	return &Reconciler[T]{
		client:   env.Manager.GetClient(),
		live:     env.Manager.GetAPIReader(),
		recorder: env.Recorder,
		owner:    client.FieldOwner(env.FieldOwner),
		worker:   w,
		schedule: env.Schedule,
		maxRetry: env.MaxRetryDelay(),
	}
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler[T]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obj, err := r.read(ctx, req)
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	kind := r.kind(obj)
	defer observe(kind, req.NamespacedName, time.Now())
	var result ctrl.Result
	switch {
	case !obj.GetDeletionTimestamp().IsZero():
		result, err = r.finalize(ctx, obj)
	case obj.IsSuspended():
		err = r.keep(ctx, obj)
	default:
		result, err = r.run(ctx, obj)
	}
	if apierrors.IsConflict(err) {
		result, err = ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	r.schedule.Set(kind, req.NamespacedName, r.due(result, err))
	return result, redacted(err)
}

// read gets the object from the cache, or from the API server while the cache
// is behind what this process wrote itself: a decision taken on an older state
// would undo the newer one.
func (r *Reconciler[T]) read(ctx context.Context, req ctrl.Request) (T, error) {
	obj := reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
	err := r.client.Get(ctx, req.NamespacedName, obj)
	if err == nil && r.written.newer(req.NamespacedName, obj.GetResourceVersion()) {
		err = r.live.Get(ctx, req.NamespacedName, obj)
	}
	if apierrors.IsNotFound(err) {
		r.written.forget(req.NamespacedName)
		r.schedule.Set(r.kind(obj), req.NamespacedName, time.Time{})
		forget(r.kind(obj), req.NamespacedName)
	}
	return obj, err
}

func (r *Reconciler[T]) run(ctx context.Context, obj T) (ctrl.Result, error) {
	if err := r.claim(ctx, obj); err != nil {
		return ctrl.Result{}, err
	}
	before := obj.DeepCopyObject().(T)
	workCtx, measured := telemetry.Begin(ctx, r.object(obj))
	workCtx, status := r.begin(workCtx, before)
	done, err := r.work(workCtx, obj)
	status.end()
	measured.End()
	if ctx.Err() != nil && err != nil {
		return ctrl.Result{}, err // the process ends; the next one will do the work
	}
	if errors.Is(err, ErrLater) {
		return ctrl.Result{RequeueAfter: time.Millisecond, Priority: new(lowPriority)}, nil
	}
	f := failureOf(err)
	report(obj, done, f)
	if err := status.write(ctx, obj); err != nil {
		return ctrl.Result{}, errors.Join(f.orNil(), client.IgnoreNotFound(err))
	}
	ctx = r.trace(ctx, measured, before, obj, done, f)
	r.tell(before, obj, done, f)
	return r.next(ctx, obj, done, f)
}

// work runs the Worker, and turns a panic into a failure of this object alone.
func (r *Reconciler[T]) work(ctx context.Context, obj T) (done Done, err error) {
	defer func() {
		if p := recover(); p != nil {
			ctrl.LoggerFrom(ctx).Error(fmt.Errorf("%v", p), "panic in a reconciliation", "stack", string(debug.Stack()))
			err = Retry(meta.FailedReason, fmt.Errorf("internal error (please report it): %v", p))
		}
	}()
	if err := duration.Check(obj); err != nil {
		return Done{}, Stall(reasonInvalidSpec, err)
	}
	return r.worker.Reconcile(ctx, obj)
}

func (r *Reconciler[T]) finalize(ctx context.Context, obj T) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(obj, Finalizer) {
		return ctrl.Result{}, nil
	}
	before := obj.DeepCopyObject().(T)
	workCtx, status := r.begin(ctx, before)
	err := r.cleanUp(workCtx, obj)
	status.end()
	if err != nil {
		if ctx.Err() != nil {
			return ctrl.Result{}, err
		}
		f := failureOf(err)
		report(obj, Done{}, f)
		if err := status.write(ctx, obj); err != nil {
			return ctrl.Result{}, errors.Join(f, client.IgnoreNotFound(err))
		}
		r.tell(before, obj, Done{}, f)
		return r.next(ctx, obj, Done{}, f)
	}
	before = obj.DeepCopyObject().(T)
	controllerutil.RemoveFinalizer(obj, Finalizer)
	err = r.client.Patch(ctx, obj, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), r.owner)
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

func (r *Reconciler[T]) cleanUp(ctx context.Context, obj T) (err error) {
	defer func() {
		if p := recover(); p != nil {
			ctrl.LoggerFrom(ctx).Error(fmt.Errorf("%v", p), "panic in a finalizer", "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error (please report it): %v", p)
		}
	}()
	return r.worker.Finalize(ctx, obj)
}

func (r *Reconciler[T]) claim(ctx context.Context, obj T) error {
	before := obj.DeepCopyObject().(T)
	if !controllerutil.AddFinalizer(obj, Finalizer) {
		return nil
	}
	err := r.client.Patch(ctx, obj, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), r.owner)
	if err == nil {
		r.written.note(obj)
	}
	return err
}

// tell records the event of one attempt, if Ready says something new. What
// happened before a failure is told first.
func (r *Reconciler[T]) tell(before, after T, done Done, f *Failure) {
	if f != nil && done.Changed {
		r.recorder.Normal(after, orDefault(done.EventReason, meta.SucceededReason), orDefault(done.Event, done.Message), done.Metadata)
	}
	to := apimeta.FindStatusCondition(after.GetConditions(), meta.ReadyCondition)
	changed := news(before, after)
	switch {
	case f != nil && !changed, f == nil && !changed && !done.Changed, done.Quiet:
	case f != nil && f.Waiting:
		r.recorder.Normal(after, f.Reason, f.Error(), done.Metadata)
	case f != nil:
		r.recorder.Warning(after, f.Reason, f.Error(), done.Metadata)
	case done.Pending:
	default:
		r.recorder.Normal(after, orDefault(done.EventReason, to.Reason), orDefault(done.Event, done.Message), done.Metadata)
	}
}

// news tells whether Ready says something else than before.
func news(before, after Object) bool {
	from := apimeta.FindStatusCondition(before.GetConditions(), meta.ReadyCondition)
	to := apimeta.FindStatusCondition(after.GetConditions(), meta.ReadyCondition)
	return from == nil || from.Status != to.Status || from.Reason != to.Reason || from.Message != to.Message
}

// next says when to look at the object again.
func (r *Reconciler[T]) next(ctx context.Context, obj T, done Done, f *Failure) (ctrl.Result, error) {
	log := ctrl.LoggerFrom(ctx)
	switch {
	case f == nil:
		after := done.After
		if after == 0 {
			after = jitter.JitteredIntervalDuration(obj.GetInterval())
		}
		log.Info(secrets.Redact(done.Message), "next", after.Round(time.Millisecond).String())
		return ctrl.Result{RequeueAfter: after, Priority: new(normalPriority)}, nil
	case f.Final:
		return ctrl.Result{}, reconcile.TerminalError(f)
	case f.Waiting:
		log.Info(secrets.Redact(f.Error()), "reason", f.Reason, "next", f.After.String())
		return ctrl.Result{RequeueAfter: f.After, Priority: new(retryPriority)}, nil
	case f.After > 0:
		log.Error(redacted(f), "reconciliation failed", "reason", f.Reason, "next", f.After.String())
		return ctrl.Result{RequeueAfter: f.After, Priority: new(retryPriority)}, nil
	default:
		return ctrl.Result{Priority: new(retryPriority)}, f
	}
}

func (r *Reconciler[T]) kind(obj client.Object) string {
	gvk, err := apiutil.GVKForObject(obj, r.client.Scheme())
	if err != nil {
		return reflect.TypeFor[T]().Elem().Name()
	}
	return gvk.Kind
}

func (f *Failure) orNil() error {
	if f == nil {
		return nil
	}
	return f
}

// redacted keeps secrets out of the log line that controller-runtime writes
// about a returned error. Whether the error is terminal must survive.
func redacted(err error) error {
	if err == nil {
		return nil
	}
	clean := errors.New(secrets.Redact(err.Error()))
	if errors.Is(err, reconcile.TerminalError(nil)) {
		return reconcile.TerminalError(clean)
	}
	return clean
}
