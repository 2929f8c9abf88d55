package bucket

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/sourceignore"
	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/upstream"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/custody"
)

// latest is the stable name of the newest artifact, which status.url names.
const latest = "latest.tar.gz"

// Options are what a Reconciler works with.
type Options struct {
	Client     client.Reader // reads Secrets live
	Recorder   *events.Recorder
	Store      *artifact.Store
	Logins     *cloudlogin.Logins
	CacheDir   string        // keeps downloaded objects
	CacheBytes int64         // of them, not counting what was used in the last minutes; 0 means 8 GiB
	Pulls      int           // buckets that are downloaded and packed at once; 0 means 1
	Bell       *loop.Bell    // brings objects back whose artifact was lost; may be nil
	Fetch      custody.Fetch // from other replicas; may be nil
}

// Reconciler is the loop.Worker of Buckets. Listing is waiting, so many buckets do
// that at once; what comes after it is work, for Options.Pulls at once.
type Reconciler struct {
	o      Options
	cache  *cache
	limits limits
	turns  *semaphore.Weighted

	custodian *custody.Custodian

	patience upstream.Patience

	mu       sync.Mutex
	storages map[[sha256.Size]byte]storage
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCache
	}
	return &Reconciler{
		custodian: &custody.Custodian{Kind: sourcev1.BucketKind, Store: o.Store, Recorder: o.Recorder, Fetch: o.Fetch},
		o:         o, cache: &cache{dir: o.CacheDir, limit: o.CacheBytes}, limits: defaultLimits,
		turns: semaphore.NewWeighted(int64(max(1, o.Pulls))), storages: map[[sha256.Size]byte]storage{},
	}
}

// content is what a bucket holds now, of which chosen goes into the artifact.
type content struct {
	storage  storage
	index    *index
	shelf    *shelf
	chosen   []object
	revision string
	files    int // in the revision
}

// Reconcile publishes the objects of the bucket that are not ignored.
func (r *Reconciler) Reconcile(ctx context.Context, b *sourcev1.Bucket) (loop.Done, error) {
	before := b.Status.Artifact
	r.custodian.Check(b, &b.Status.Artifact, &b.Status.URL)
	telemetry.Enter(ctx, telemetry.Poll)
	found, err := r.look(ctx, b)
	if err != nil {
		return loop.Done{}, err
	}
	if !upToDate(b, found.revision) {
		if err := r.renew(ctx, b, found); err != nil {
			return loop.Done{}, err
		}
		r.custodian.Collect(b, before)
	}
	if b.Status.URL, err = r.o.Store.Alias(b.Status.Artifact, latest); err != nil {
		return loop.Done{}, causes.Failure(ctx, err)
	}
	b.Status.Artifact.URL = r.o.Store.URL(b.Status.Artifact.Path)
	return announced(b, before, found.files), nil
}

// look lists the bucket and chooses what goes into the artifact. Only ignore files
// that changed are downloaded for that.
func (r *Reconciler) look(ctx context.Context, b *sourcev1.Bucket) (*content, error) {
	ctx, cancel := cause.Within(ctx, "spec.timeout", b.Spec.Timeout)
	defer cancel()
	c, err := r.examine(ctx, b)
	return c, causes.Failure(ctx, err)
}

func (r *Reconciler) examine(ctx context.Context, b *sourcev1.Bucket) (c *content, err error) {
	c = &content{}
	if c.storage, err = r.storage(ctx, b); err != nil {
		return nil, err
	}
	scope := fmt.Sprintf("%q", []string{b.Namespace, b.Name, b.Spec.Provider, b.Spec.Endpoint, b.Spec.BucketName})
	if c.shelf, err = r.cache.shelf(b.Namespace, b.Name, scope); err != nil {
		return nil, err
	}
	if c.index, err = list(ctx, c.storage, scope, b.Spec.Prefix, r.limits); err != nil {
		return nil, err
	}
	c.index.fetch = func(o object) (io.ReadCloser, error) {
		if err := check([]object{o}, r.limits); err != nil {
			return nil, err
		}
		if err := c.shelf.fill(ctx, c.storage, []object{o}); err != nil {
			return nil, err
		}
		return c.shelf.open(o)
	}
	paths, err := r.o.Store.Paths(ctx, c.index, ignore(b))
	if err != nil {
		return nil, err
	}
	c.chosen = c.index.pick(paths)
	counted := c.chosen
	if _, present := c.index.objects[sourceignore.IgnoreFile]; present {
		counted = nil
		for _, o := range c.chosen {
			if o.key != sourceignore.IgnoreFile {
				counted = append(counted, o)
			}
		}
	}
	c.revision, c.files = revision(counted), len(counted)
	return c, check(c.chosen, r.limits)
}

// renew downloads what is missing and publishes it, when it is its turn.
func (r *Reconciler) renew(ctx context.Context, b *sourcev1.Bucket, c *content) error {
	loop.Progress(ctx, fmt.Sprintf("waiting to download revision '%s'", c.revision))
	if err := r.turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.turns.Release(1)
	ctx, cancel := cause.Within(ctx, "spec.timeout", b.Spec.Timeout)
	defer cancel()
	telemetry.Enter(ctx, telemetry.Fetch)
	loop.Progress(ctx, fmt.Sprintf("downloading revision '%s'", c.revision))
	if err := c.shelf.fill(ctx, c.storage, c.chosen); err != nil {
		return causes.Failure(ctx, err)
	}
	telemetry.Enter(ctx, telemetry.Pack)
	if err := r.publish(ctx, b, c); err != nil {
		return causes.Failure(ctx, err)
	}
	if err := c.shelf.trim(c.chosen); err != nil {
		r.o.Recorder.Warning(b, sourcev1.GarbageCollectionFailedReason, err.Error(), nil)
	}
	return nil
}

// publish packs the objects, gives the archive its name and says so in status.
func (r *Reconciler) publish(ctx context.Context, b *sourcev1.Bucket, c *content) error {
	c.index.fetch = c.shelf.open
	o := artifact.PackOptions{Ignore: ignore(b)}
	if b.Status.Artifact != nil {
		o.Previous = b.Status.Artifact.Digest
	}
	blob, err := r.o.Store.Pack(ctx, c.index, o)
	if err != nil {
		return err
	}
	a, err := r.o.Store.Publish(artifact.Publication{
		Object:   r.custodian.Owner(b),
		File:     strings.TrimPrefix(c.revision, "sha256:") + ".tar.gz",
		Revision: c.revision,
	}, blob)
	if err != nil {
		return err
	}
	b.Status.Artifact = a
	b.Status.ObservedIgnore = b.Spec.DeepCopy().Ignore
	return nil
}

// Finalize removes what was published and what was kept.
func (r *Reconciler) Finalize(_ context.Context, b *sourcev1.Bucket) error {
	if err := r.cache.drop(b.Namespace, b.Name); err != nil {
		return err
	}
	return r.custodian.Remove(b)
}

// Keep implements loop.Keeper.
func (r *Reconciler) Keep(ctx context.Context, b *sourcev1.Bucket) (*loop.Done, error) {
	return r.custodian.Keep(ctx, b, func() loop.Done { return stored(b) })
}

// upToDate tells whether the artifact is what the spec asks for now.
func upToDate(b *sourcev1.Bucket, revision string) bool {
	s := &b.Status
	return s.Artifact != nil && s.Artifact.HasRevision(revision) &&
		(s.ObservedIgnore == b.Spec.Ignore || s.ObservedIgnore != nil && b.Spec.Ignore != nil && *s.ObservedIgnore == *b.Spec.Ignore)
}

// stored is the outcome of every success.
func stored(b *sourcev1.Bucket) loop.Done {
	return custody.Stored(b, fmt.Sprintf("stored artifact: revision '%s'", b.Status.Artifact.Revision))
}

// announced is stored that tells of a new artifact. One that was only put back is no
// news.
func announced(b *sourcev1.Bucket, before *meta.Artifact, files int) loop.Done {
	done, now := stored(b), b.Status.Artifact
	if before.HasRevision(now.Revision) && before.HasDigest(now.Digest) {
		return done
	}
	done.Event = fmt.Sprintf("stored artifact with %d fetched files from '%s' bucket", files, b.Spec.BucketName)
	done.EventReason, done.Changed = sourcev1.NewArtifactReason, true
	return done
}

func ignore(b *sourcev1.Bucket) artifact.Ignore {
	if b.Spec.Ignore == nil {
		return artifact.Ignore{}
	}
	return artifact.Ignore{Patterns: *b.Spec.Ignore}
}
