package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/custody"
)

// Options are what a Reconciler works with.
type Options struct {
	Client            client.Reader // reads Secrets live
	Recorder          *events.Recorder
	Store             *artifact.Store
	Fetcher           *artifact.Fetcher // unpacks what is included
	Mirrors           *gitrepo.Pool
	Auth              *gitauth.Reader
	Packs             int           // artifacts packed at the same time; at least one
	RequeueDependency time.Duration // how long to wait for an included repository at the most
	Bell              *loop.Bell    // brings objects back whose artifact was lost; may be nil
	Fetch             custody.Fetch // from other replicas; may be nil
}

// Reconciler is the loop.Worker of GitRepositories.
type Reconciler struct {
	o         Options
	custodian *custody.Custodian
	turns     *semaphore.Weighted // to pack an artifact
	proofs    sync.Map            // UID of a repository -> trust.proof of what was verified of it last
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	return &Reconciler{
		o: o, turns: semaphore.NewWeighted(int64(max(1, o.Packs))),
		custodian: &custody.Custodian{Kind: sourcev1.GitRepositoryKind, Store: o.Store, Recorder: o.Recorder, Fetch: o.Fetch},
	}
}

// Reconcile publishes the commit that spec.ref stands at.
func (r *Reconciler) Reconcile(ctx context.Context, repo *sourcev1.GitRepository) (loop.Done, error) {
	before := repo.Status.Artifact
	r.custodian.Check(repo, &repo.Status.Artifact, nil)
	ctx, cancel := cause.Within(ctx, "spec.timeout", repo.Spec.Timeout)
	defer cancel()

	trust, err := r.trust(ctx, repo)
	if err != nil {
		return loop.Done{}, failure(ctx, repo, err)
	}
	remote, auth, err := r.open(ctx, repo)
	if err != nil {
		return loop.Done{}, failure(ctx, repo, err)
	}
	telemetry.Enter(ctx, telemetry.Poll)
	revision, err := remote.Poll(asked(ctx, repo), reference(repo.Spec.Reference))
	if err != nil {
		return loop.Done{}, failure(ctx, repo, err)
	}
	included, err := r.included(ctx, repo)
	if err != nil {
		return loop.Done{}, err
	}
	if upToDate(repo, revision, included) && r.verified(repo, trust, revision) {
		repo.Status.Artifact.URL = r.o.Store.URL(repo.Status.Artifact.Path)
		return stored(repo), nil
	}
	telemetry.Enter(ctx, telemetry.Fetch)
	loop.Progress(ctx, fmt.Sprintf("fetching revision '%s'", revision))
	p, err := r.pack(ctx, repo, selected{remote, auth, trust, revision, included})
	if err != nil {
		return loop.Done{}, failure(ctx, repo, err)
	}
	if err := r.publish(repo, revision, p.blob, included); err != nil {
		return loop.Done{}, failure(ctx, repo, err)
	}
	r.trusted(repo, trust, revision, p.said)
	r.custodian.Collect(repo, before)
	return announced(repo, before, p.commit), nil
}

// Finalize removes what was published.
func (r *Reconciler) Finalize(_ context.Context, repo *sourcev1.GitRepository) error {
	r.proofs.Delete(repo.UID)
	return r.custodian.Remove(repo)
}

// Keep implements loop.Keeper.
func (r *Reconciler) Keep(ctx context.Context, repo *sourcev1.GitRepository) (*loop.Done, error) {
	return r.custodian.Keep(ctx, repo, func() loop.Done { return stored(repo) })
}

// upToDate tells whether the artifact is what the spec asks for now.
func upToDate(repo *sourcev1.GitRepository, revision gitrepo.Revision, included []include) bool {
	s := &repo.Status
	return s.Artifact != nil && s.Artifact.HasRevision(revision.String()) &&
		equal(s.ObservedIgnore, repo.Spec.Ignore) &&
		equalAll(s.ObservedInclude, repo.Spec.Include) &&
		equalAll(s.ObservedSparseCheckout, repo.Spec.SparseCheckout) &&
		s.ObservedRecurseSubmodules == repo.Spec.RecurseSubmodules && sameArtifacts(s.IncludedArtifacts, included)
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func equalAll[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// packed is a commit whose archive is in the store.
type packed struct {
	commit gitrepo.Commit
	blob   artifact.Blob
	said   string // of its signatures
}

// selected is what is to be packed.
type selected struct {
	remote   *gitrepo.Repo
	auth     gitrepo.Auth
	trust    *trust
	revision gitrepo.Revision
	included []include
}

// pack fetches the commit, verifies it and puts its archive into the store.
// Objects that turn out to be missing from a mirror are fetched anew, once.
func (r *Reconciler) pack(ctx context.Context, repo *sourcev1.GitRepository, t selected) (packed, error) {
	p, err := r.packOnce(ctx, repo, t)
	if errors.Is(err, gitrepo.ErrIncomplete) {
		p, err = r.packOnce(ctx, repo, t)
	}
	return p, err
}

func (r *Reconciler) packOnce(ctx context.Context, repo *sourcev1.GitRepository, t selected) (p packed, err error) {
	if p.commit, err = t.trust.fetch(ctx, t.remote, t.revision); err != nil {
		return p, err
	}
	if t.trust != nil { // before anything else of it is believed
		err = t.remote.View(ctx, p.commit.Hash, func(v *gitrepo.View) (err error) {
			p.said, err = t.trust.verify(v, t.revision)
			return err
		})
		if err != nil {
			return p, err
		}
	}
	parts := []part{{at: ".", url: repo.Spec.URL, remote: t.remote, commit: p.commit}}
	if repo.Spec.RecurseSubmodules {
		if parts, err = r.modules(ctx, repo, t.auth, parts[0]); err != nil {
			return p, err
		}
	}
	var wanted []gitrepo.Wanted
	for _, part := range parts {
		wanted = append(wanted, gitrepo.Wanted{Repo: part.remote, Hash: part.commit.Hash})
	}
	if r.turns.Acquire(ctx, 1) != nil { // what comes now costs the processor
		return p, context.Cause(ctx)
	}
	defer r.turns.Release(1)
	err = gitrepo.Views(ctx, wanted, func(views []*gitrepo.View) error {
		src, done, err := r.source(ctx, repo, views, parts, t.included)
		if err != nil {
			return err
		}
		defer done()
		telemetry.Enter(ctx, telemetry.Pack)
		p.blob, err = r.o.Store.Pack(ctx, src, options(repo))
		return err
	})
	return p, err
}

func options(repo *sourcev1.GitRepository) artifact.PackOptions {
	var o artifact.PackOptions
	if repo.Spec.Ignore != nil {
		o.Ignore.Patterns = *repo.Spec.Ignore
	}
	if repo.Status.Artifact != nil {
		o.Previous = repo.Status.Artifact.Digest
	}
	return o
}

// publish gives the archive its name and says so in status.
func (r *Reconciler) publish(repo *sourcev1.GitRepository, revision gitrepo.Revision, blob artifact.Blob, included []include) error {
	a, err := r.o.Store.Publish(artifact.Publication{
		Object:   r.custodian.Owner(repo),
		File:     revision.Hash + ".tar.gz",
		Revision: revision.String(),
	}, blob)
	if err != nil {
		return err
	}
	s, spec := &repo.Status, repo.Spec.DeepCopy()
	s.Artifact = a
	s.IncludedArtifacts = artifacts(included)
	s.ObservedIgnore, s.ObservedInclude, s.ObservedSparseCheckout = spec.Ignore, spec.Include, spec.SparseCheckout
	s.ObservedRecurseSubmodules = spec.RecurseSubmodules
	return nil
}

// stored is the outcome of every success.
func stored(repo *sourcev1.GitRepository) loop.Done {
	return custody.Stored(repo, fmt.Sprintf("stored artifact for revision '%s'", repo.Status.Artifact.Revision))
}

// announced is the outcome after an artifact was published. One that was only put
// back is no news.
func announced(repo *sourcev1.GitRepository, before *meta.Artifact, commit gitrepo.Commit) loop.Done {
	done := stored(repo)
	now := repo.Status.Artifact
	if before.HasRevision(now.Revision) && before.HasDigest(now.Digest) {
		return done
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(commit.Message), "\n")
	done.Event, done.EventReason = fmt.Sprintf("stored artifact for commit '%s'", subject), sourcev1.NewArtifactReason
	done.Changed = true
	return done
}

// asked makes a poll ask the server, and not be answered by another's, when
// somebody wants the repository looked at: they know of a change, a webhook say.
func asked(ctx context.Context, repo *sourcev1.GitRepository) context.Context {
	at, _ := meta.ReconcileAnnotationValue(repo.Annotations)
	if at != repo.Status.LastHandledReconcileAt || repo.Generation != repo.Status.ObservedGeneration {
		return gitrepo.Fresh(ctx)
	}
	return ctx
}
