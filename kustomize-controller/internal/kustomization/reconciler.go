package kustomization

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/cache"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/kustomize-controller/internal/remote"
	"github.com/weirhq/weir/kustomize-controller/internal/wish"
)

// Options are what a Reconciler works with. Those above RequeueDependency are
// required.
type Options struct {
	Client   client.Client
	Live     client.Reader // reads from the API server
	Recorder *events.Recorder
	Fetcher  *artifact.Fetcher
	Builder  *build.Engine
	Cluster  *apply.Cluster
	Remote   *remote.Clusters

	// RequeueDependency is the longest wait for a source or a dependency.
	RequeueDependency time.Duration
	// FetchPatience and BuildPatience are how long a worker waits for a download,
	// and for a build, before it goes on without one; 0 is three seconds.
	FetchPatience, BuildPatience time.Duration
	// DeletionGap is how far apart the deletions of Kustomizations may come that are
	// meant to be deleted together; 0 is two seconds.
	DeletionGap time.Duration
	// NoCrossNamespaceRefs forbids sources and dependencies elsewhere.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount acts for objects that name none; "" is the
	// controller.
	DefaultServiceAccount string
	// AdditiveReadiness makes spec.dependsOn[].readyExpr an addition to the usual
	// test of readiness, instead of taking its place.
	AdditiveReadiness bool
	// WatchConfigs makes changes of ConfigMaps and Secrets bring back those that
	// read them.
	WatchConfigs bool
	// ExternalArtifacts allows sources of that kind.
	ExternalArtifacts bool
	// FreshSources reads sources from the API server instead of the cache.
	FreshSources bool
	// GroupChanges tells changes grouped by what was done.
	GroupChanges bool
	// PatientHealth waits for the timeout even when an object has failed.
	PatientHealth bool
	// TellCanceled makes an event of a wait for health that something newer ends.
	TellCanceled bool
	// PruneGuard is the guard of objects that name none.
	PruneGuard wish.Guard
	// DependentsFirst deletes objects after those that depend on them, unless they
	// say otherwise.
	DependentsFirst bool
	// AgeSecret holds age identities for all Kustomizations that decrypt.
	AgeSecret types.NamespacedName
	// KubeconfigAccount is the service account that tokens for other clusters are
	// asked for when a ConfigMap names none; "" is nobody.
	KubeconfigAccount string
	// DecryptionAccount is the service account that asks key services for objects
	// that name none; "" is the controller.
	DecryptionAccount string
	// VaultConfig is the ConfigMap that lists the Vaults to log in to; the zero
	// name is none.
	VaultConfig types.NamespacedName
	// Tokens keeps tokens of clouds and Vaults; nil keeps none.
	Tokens *cache.TokenCache
	// WorkloadIdentity allows service accounts of objects to authenticate to
	// something else than this cluster.
	WorkloadIdentity bool
	// LooseSubstitution lets variables without a value pass as empty.
	LooseSubstitution bool
}

// Reconciler implements loop.Worker for Kustomizations.
type Reconciler struct {
	Options

	running context.Context            // ends with the process
	ring    func(types.NamespacedName) // brings an object back; nil in a test

	mu     sync.Mutex
	memory map[types.NamespacedName]*memory
}

// memory is what a running process remembers of an object between two
// reconciliations. All of it may be lost.
type memory struct {
	waiting       time.Time // since when health has been waited for
	waits         string    // and for which content
	waitsRevision string    // and for which revision
	generation    int64     // of the spec that was last applied
	anew          time.Time // since when objects are waited for that are to be made anew
	recheck       bool      // all objects are to be asked for, and have not been yet
	applied       string    // digest of the build that was last applied with success
	deferred      string    // revision that others were let past for
	passed        string    // revision and digest that nothing held back
	last          *release  // what was applied then, if something may be held back
	download      *download // of the artifact, while it goes on
	site          *site     // of the build, while it goes on
}

// defaultPatience is the default of Options.FetchPatience and BuildPatience: what
// takes longer goes on without a worker, so that a server that hangs costs only those
// who wait for it.
const defaultPatience = 3 * time.Second

// New returns a Reconciler.
func New(o Options) *Reconciler {
	if o.FetchPatience == 0 {
		o.FetchPatience = defaultPatience
	}
	if o.DeletionGap == 0 {
		o.DeletionGap = together
	}
	if o.BuildPatience == 0 {
		o.BuildPatience = defaultPatience
	}
	return &Reconciler{Options: o, running: context.Background(), memory: map[types.NamespacedName]*memory{}}
}

// Reconcile makes the cluster equal to the build of k's source.
func (r *Reconciler) Reconcile(ctx context.Context, k *kustomizev1.Kustomization) (done loop.Done, err error) {
	start := time.Now()
	defer func() {
		if err != nil && !errors.Is(err, loop.ErrLater) {
			r.recall(k).waiting = time.Time{} // it is not health that k waits for now
		}
	}()
	demands, err := r.demands(k)
	if err != nil {
		return loop.Done{}, err
	}
	source, err := r.source(ctx, k)
	if err != nil {
		return loop.Done{}, err
	}
	done, err = r.release(ctx, k, source, demands, start)
	if err != nil && done.Metadata == nil {
		done.Metadata = source.metadata() // a failure is of a revision, too
	}
	return done, err
}

// release takes what source has now to the cluster.
func (r *Reconciler) release(ctx context.Context, k *kustomizev1.Kustomization, source *source, demands demands, start time.Time) (loop.Done, error) {
	if err := r.dependencies(ctx, k, source, demands); err != nil {
		return loop.Done{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, k.GetTimeout())
	defer cancel()
	k.Status.LastAttemptedRevision = source.artifact.Revision
	built, err := r.build(bounded, k, source)
	if f, ok := errors.AsType[*errWaiting](err); ok {
		return loop.Done{Pending: true, Message: f.message, After: f.left}, nil
	}
	if err != nil {
		return loop.Done{}, r.failed(k, source, "", start, err)
	}
	applier, err := r.applier(bounded, k)
	if err != nil {
		return loop.Done{}, r.failed(k, source, built.Digest, start, err)
	}
	if r.canWait(k, source, applier, built) {
		return loop.Done{}, loop.ErrLater
	}
	hold, err := r.held(k, source, built, demands)
	if err != nil {
		return loop.Done{}, err
	}
	if hold != nil {
		return r.keep(bounded, k, source, applier, demands, hold, start)
	}
	changes, err := r.apply(bounded, k, source, applier, built, demands)
	if err != nil {
		return loop.Done{}, r.failed(k, source, built.Digest, start, err)
	}
	healthy, err := r.health(bounded, k, source, applier, built, demands, changes)
	if err != nil {
		return loop.Done{}, r.failed(k, source, built.Digest, start, err)
	}
	if !healthy.done {
		return healthy.pending(), nil
	}
	return r.succeeded(k, source, built.Digest, start), nil
}

// build fetches the artifact, unless it is here, and builds the objects.
func (r *Reconciler) build(ctx context.Context, k *kustomizev1.Kustomization, s *source) (*build.Result, error) {
	telemetry.Enter(ctx, telemetry.Fetch)
	loop.Progress(ctx, fmt.Sprintf("Fetching manifests for revision %s with a timeout of %s", s.artifact.Revision, k.GetTimeout()))
	tree, err := r.fetch(ctx, k, s)
	switch {
	case errors.As(err, new(*errWaiting)):
		return nil, err
	case errors.Is(err, artifact.ErrNotFound):
		return nil, loop.Wait(meta.ArtifactFailedReason, r.RequeueDependency,
			fmt.Errorf("the artifact of %s is not served any more: waiting for the source to publish it again: %w", s, err))
	case err != nil:
		return nil, loop.Retry(meta.ArtifactFailedReason, fmt.Errorf("fetching the artifact of %s: %w", s, err))
	}
	telemetry.Enter(ctx, telemetry.Build)
	loop.Progress(ctx, fmt.Sprintf("Building manifests for revision %s with a timeout of %s", s.artifact.Revision, k.GetTimeout()))
	spec, err := r.spec(ctx, k)
	if err != nil {
		tree.Close()
		return nil, err
	}
	built, err := r.construct(ctx, k, s, tree, spec)
	switch {
	case errors.As(err, new(*errWaiting)):
		return nil, err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, loop.Retry(meta.BuildFailedReason, fmt.Errorf("building %s: %w", k.Spec.Path, err))
	case errors.Is(err, build.ErrPath):
		return nil, loop.RetryAfter(kustomizev1.ArtifactFailedReason, k.GetRetryInterval(), err)
	case err != nil:
		return nil, loop.RetryAfter(meta.BuildFailedReason, k.GetRetryInterval(), err)
	}
	return built, nil
}

// canWait reports whether all there is to do for a new revision is to note it
// in status, because nothing of k changed. Those whose objects did change go
// first, however many others follow the same source.
func (r *Reconciler) canWait(k *kustomizev1.Kustomization, s *source, a *apply.Applier, built *build.Result) bool {
	m := r.recall(k)
	asked, _ := meta.ReconcileAnnotationValue(k.GetAnnotations())
	switch {
	case k.Status.LastAppliedRevision == s.artifact.Revision, m.deferred == s.artifact.Revision,
		m.applied != built.Digest, m.generation != k.Generation, asked != k.Status.LastHandledReconcileAt,
		len(a.Drifted(client.ObjectKeyFromObject(k))) > 0:
		return false
	}
	m.deferred = s.artifact.Revision
	return true
}

// failed notes a failure in the object's history.
func (r *Reconciler) failed(k *kustomizev1.Kustomization, s *source, digest string, start time.Time, err error) error {
	if f, ok := errors.AsType[*loop.Failure](err); ok && digest != "" && !f.Waiting {
		remember(k, s, digest, f.Reason, start)
	}
	return err
}

// succeeded says that all is as the source wants it.
func (r *Reconciler) succeeded(k *kustomizev1.Kustomization, s *source, digest string, start time.Time) loop.Done {
	remember(k, s, digest, meta.ReconciliationSucceededReason, start)
	r.recall(k).applied = digest
	k.Status.LastAppliedRevision = s.artifact.Revision
	k.Status.LastAppliedOriginRevision = s.origin()
	return loop.Done{
		Reason:  meta.ReconciliationSucceededReason,
		Message: "Applied revision: " + s.artifact.Revision,
		Event: fmt.Sprintf("Reconciliation finished in %s, next run in %s",
			time.Since(start).Round(time.Millisecond), k.Spec.Interval.Duration),
		Metadata: s.metadata("commit_status", "update"),
	}
}

// recall returns the memory of an object.
func (r *Reconciler) recall(k *kustomizev1.Kustomization) *memory {
	key := client.ObjectKeyFromObject(k)
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memory[key]
	if m == nil {
		m = &memory{}
		r.memory[key] = m
	}
	return m
}

func (r *Reconciler) forget(k *kustomizev1.Kustomization) {
	key := client.ObjectKeyFromObject(k)
	r.mu.Lock()
	if m := r.memory[key]; m != nil {
		m.abandon()
		if m.download != nil {
			m.download.cancel()
		}
	}
	delete(r.memory, key)
	r.mu.Unlock()
	corrections.DeleteLabelValues(k.Name, k.Namespace)
	r.Builder.Forget(key.String())
	r.Cluster.Forget(key)
	r.Remote.Leave(key)
}
