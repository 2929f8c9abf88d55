package helmrepository

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/custody"
)

const (
	// DefaultMaxIndex is how many bytes an index may have when nothing is said.
	DefaultMaxIndex = 50 << 20
	// latest is the stable name of the newest index, which status.url names.
	latest = "index.yaml"
)

// Options are what a Reconciler works with.
type Options struct {
	Client   client.Reader // reads Secrets live
	Recorder *events.Recorder
	Store    *artifact.Store
	HTTP     *chartrepo.Client
	Indexes  *chartindex.Cache
	MaxIndex int64         // bytes; 0 means DefaultMaxIndex
	Reads    int           // indexes that are read and parsed at once; 0 means 1
	Bell     *loop.Bell    // brings objects back whose artifact was lost; may be nil
	Fetch    custody.Fetch // from other replicas; may be nil
}

// Reconciler is the loop.Worker of HelmRepositories. Asking for an index is waiting,
// so many objects do that at once; reading and parsing one is work, for
// Options.Reads at once.
type Reconciler struct {
	o         Options
	custodian *custody.Custodian
	turns     *semaphore.Weighted

	mu    sync.Mutex
	known map[types.UID]answer
}

// answer is what the server said about the index that is published. It is lost
// with the process, which costs one fetch.
type answer struct {
	generation int64
	revision   string
	state      chartrepo.State
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	if o.MaxIndex <= 0 {
		o.MaxIndex = DefaultMaxIndex
	}
	return &Reconciler{
		o: o, turns: semaphore.NewWeighted(int64(max(1, o.Reads))), known: map[types.UID]answer{},
		custodian: &custody.Custodian{Kind: sourcev1.HelmRepositoryKind, Store: o.Store, Recorder: o.Recorder, Fetch: o.Fetch},
	}
}

// Reconcile publishes the index.
func (r *Reconciler) Reconcile(ctx context.Context, repo *sourcev1.HelmRepository) (loop.Done, error) {
	before := repo.Status.Artifact
	r.custodian.Check(repo, &repo.Status.Artifact, &repo.Status.URL)
	access, err := chartrepo.Resolve(ctx, r.o.Client, repo)
	if err != nil {
		return loop.Done{}, causes.Failure(ctx, err)
	}
	telemetry.Enter(ctx, telemetry.Fetch)
	held, err := r.attempt(ctx, repo, access, false)
	if err == nil && !held {
		err = r.whenFree(ctx, func() error {
			_, err := r.attempt(ctx, repo, access, true)
			return err
		})
	}
	if err != nil {
		return loop.Done{}, err
	}
	if !before.HasRevision(repo.Status.Artifact.Revision) {
		r.custodian.Collect(repo, before)
	}
	if repo.Status.URL, err = r.o.Store.Alias(repo.Status.Artifact, latest); err != nil {
		return loop.Done{}, causes.Failure(ctx, err)
	}
	repo.Status.Artifact.URL = r.o.Store.URL(repo.Status.Artifact.Path)
	return announced(repo, before), nil
}

// Finalize removes what was published.
func (r *Reconciler) Finalize(_ context.Context, repo *sourcev1.HelmRepository) error {
	r.mu.Lock()
	delete(r.known, repo.UID)
	chartindex.Uncount(repo.Namespace, repo.Name)
	r.mu.Unlock()
	return r.custodian.Remove(repo)
}

// Keep implements loop.Keeper.
func (r *Reconciler) Keep(ctx context.Context, repo *sourcev1.HelmRepository) (*loop.Done, error) {
	return r.custodian.Keep(ctx, repo, func() loop.Done { return stored(repo) })
}

// whenFree runs fn when it is its turn.
func (r *Reconciler) whenFree(ctx context.Context, fn func() error) error {
	loop.Progress(ctx, "waiting to read the index")
	if err := r.turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.turns.Release(1)
	return fn()
}

// attempt asks for the index and publishes it when it is another one. Without a
// turn it takes one; it returns false, and nothing is done, when there is none.
func (r *Reconciler) attempt(ctx context.Context, repo *sourcev1.HelmRepository, access chartrepo.Access, turn bool) (bool, error) {
	ctx, cancel := cause.Within(ctx, "spec.timeout", repo.Spec.Timeout)
	defer cancel()
	file, err := r.ask(ctx, repo, access)
	if err != nil {
		return true, causes.Failure(ctx, fmt.Errorf("fetching the index: %w", err))
	}
	if file.ReadCloser == nil {
		return true, nil
	}
	defer file.Close()
	if !turn {
		if !r.turns.TryAcquire(1) {
			return false, nil
		}
		defer r.turns.Release(1)
	}
	return true, causes.Failure(ctx, r.publish(ctx, repo, file))
}

// ask asks whether there is another index than the published one.
func (r *Reconciler) ask(ctx context.Context, repo *sourcev1.HelmRepository, access chartrepo.Access) (chartrepo.File, error) {
	r.mu.Lock()
	known := r.known[repo.UID]
	r.mu.Unlock()
	if known.generation != repo.Generation || !repo.Status.Artifact.HasRevision(known.revision) {
		known = answer{}
	}
	target := access.URL.ResolveReference(&url.URL{Path: "index.yaml", RawQuery: access.URL.RawQuery})
	return r.o.HTTP.Get(ctx, access, target, known.state, r.o.MaxIndex)
}

// publish reads the index, gives the archive its name and says so in status.
func (r *Reconciler) publish(ctx context.Context, repo *sourcev1.HelmRepository, file chartrepo.File) error {
	revision, index, blob, err := r.read(ctx, file)
	if err != nil {
		return fmt.Errorf("fetching the index: %w", err)
	}
	telemetry.Enter(ctx, telemetry.Pack)
	r.o.Indexes.Add(revision, index)
	if !repo.Status.Artifact.HasRevision(revision) {
		repo.Status.Artifact, err = r.o.Store.Publish(artifact.Publication{
			Object: r.custodian.Owner(repo), File: "index-" + strings.TrimPrefix(revision, "sha256:") + ".yaml", Revision: revision,
		}, blob)
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[repo.UID] = answer{repo.Generation, revision, file.State}
	return nil
}

// read puts the bytes of an index into the store, and parses them on the way.
func (r *Reconciler) read(ctx context.Context, body io.Reader) (string, *chartindex.Index, artifact.Blob, error) {
	var index *chartindex.Index
	var parseErr error
	parsed := make(chan struct{})
	out, in := io.Pipe()
	go func() {
		defer close(parsed)
		defer func() {
			if p := recover(); p != nil { // it would end the process
				parseErr = fmt.Errorf("%w: %v", chartindex.ErrIndex, p)
				out.CloseWithError(parseErr)
			}
		}()
		if index, parseErr = chartindex.Parse(out); parseErr == nil {
			_, parseErr = io.Copy(io.Discard, out) // what follows the last value
		}
		out.CloseWithError(parseErr)
	}()
	sum := sha256.New()
	blob, err := r.o.Store.Put(ctx, io.TeeReader(io.TeeReader(body, in), sum))
	in.CloseWithError(err)
	<-parsed
	if err == nil {
		err = parseErr
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), index, blob, err
}

// stored is the outcome of every success.
func stored(repo *sourcev1.HelmRepository) loop.Done {
	return custody.Stored(repo, fmt.Sprintf("stored artifact: revision '%s'", repo.Status.Artifact.Revision))
}

// announced is stored that tells of a new artifact. One that was only put back is no
// news.
func announced(repo *sourcev1.HelmRepository, before *meta.Artifact) loop.Done {
	done, now := stored(repo), repo.Status.Artifact
	if before.HasRevision(now.Revision) && before.HasDigest(now.Digest) {
		return done
	}
	done.Event = fmt.Sprintf("stored fetched index of size %s from '%s'", humanSize(*now.Size), repo.Spec.URL)
	done.EventReason, done.Changed = sourcev1.NewArtifactReason, true
	return done
}

// humanSize writes bytes with four digits and a decimal unit.
func humanSize(n int64) string {
	size, units := float64(n), []string{"B", "kB", "MB", "GB"}
	for size >= 1000 && len(units) > 1 {
		size, units = size/1000, units[1:]
	}
	return fmt.Sprintf("%.4g%s", size, units[0])
}
