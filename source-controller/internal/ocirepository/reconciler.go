package ocirepository

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/custody"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// latest is the stable name of the newest artifact, which status.url names.
const latest = "latest.tar.gz"

// Options are what a Reconciler works with.
type Options struct {
	Client   client.Reader // reads Secrets and service accounts live
	Recorder *events.Recorder
	Store    *artifact.Store
	Fetcher  *artifact.Fetcher // unpacks layers
	Registry *registry.Client
	Public   *signature.Public // the trusted root of keyless signatures that name none
	Logins   *cloudlogin.Logins
	Pulls    int           // objects that are verified, pulled and packed at once; 0 means 1
	Bell     *loop.Bell    // brings objects back whose artifact was lost; may be nil
	Fetch    custody.Fetch // from other replicas; may be nil
}

// Reconciler is the loop.Worker of OCIRepositories. Looking at a registry is waiting,
// so many objects do that at once; what comes after it is work, for Options.Pulls
// objects at once.
type Reconciler struct {
	o         Options
	custodian *custody.Custodian
	turns     *semaphore.Weighted
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	return &Reconciler{
		o: o, turns: semaphore.NewWeighted(int64(max(1, o.Pulls))),
		custodian: &custody.Custodian{Kind: sourcev1.OCIRepositoryKind, Store: o.Store, Recorder: o.Recorder, Fetch: o.Fetch},
	}
}

// Reconcile publishes the layer of the artifact that spec.ref stands for.
func (r *Reconciler) Reconcile(ctx context.Context, repo *sourcev1.OCIRepository) (loop.Done, error) {
	before := repo.Status.Artifact
	r.custodian.Check(repo, &repo.Status.Artifact, &repo.Status.URL)
	telemetry.Enter(ctx, telemetry.Poll)
	access, revision, err := r.look(ctx, repo)
	if err != nil {
		return loop.Done{}, err
	}
	if !upToDate(repo, revision) || !verified(repo, revision) {
		if err := r.renew(ctx, repo, access, revision); err != nil {
			return loop.Done{}, err
		}
		r.custodian.Collect(repo, before)
	}
	if repo.Status.URL, err = r.o.Store.Alias(repo.Status.Artifact, latest); err != nil {
		return loop.Done{}, causes.Failure(ctx, err)
	}
	repo.Status.Artifact.URL = r.o.Store.URL(repo.Status.Artifact.Path)
	return announced(repo, before), nil
}

// look finds what the reference stands for now, and how to get at it.
func (r *Reconciler) look(ctx context.Context, repo *sourcev1.OCIRepository) (registry.Access, revision, error) {
	ctx, cancel := cause.Within(ctx, "spec.timeout", repo.Spec.Timeout)
	defer cancel()
	access, err := r.access(ctx, repo)
	if err != nil {
		return access, revision{}, causes.Failure(ctx, err)
	}
	rev, err := r.resolve(ctx, access, repo.Spec.Reference)
	return access, rev, causes.Failure(ctx, err)
}

// renew verifies and publishes the revision as far as that is not done, when it is
// its turn.
func (r *Reconciler) renew(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access, revision revision) error {
	loop.Progress(ctx, fmt.Sprintf("waiting to pull revision '%s'", revision))
	if err := r.turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.turns.Release(1)
	ctx, cancel := cause.Within(ctx, "spec.timeout", repo.Spec.Timeout)
	defer cancel()
	telemetry.Enter(ctx, telemetry.Verify)
	if err := r.verify(ctx, repo, access, revision); err != nil {
		return causes.Failure(ctx, err)
	}
	if upToDate(repo, revision) {
		return nil
	}
	telemetry.Enter(ctx, telemetry.Fetch)
	loop.Progress(ctx, fmt.Sprintf("pulling revision '%s'", revision))
	return causes.Failure(ctx, r.publish(ctx, repo, access, revision))
}

// Finalize removes what was published.
func (r *Reconciler) Finalize(_ context.Context, repo *sourcev1.OCIRepository) error {
	return r.custodian.Remove(repo)
}

// Keep implements loop.Keeper.
func (r *Reconciler) Keep(ctx context.Context, repo *sourcev1.OCIRepository) (*loop.Done, error) {
	return r.custodian.Keep(ctx, repo, func() loop.Done { return stored(repo) })
}

// upToDate tells whether the artifact is what the spec asks for now.
func upToDate(repo *sourcev1.OCIRepository, revision revision) bool {
	s := &repo.Status
	return s.Artifact != nil && s.Artifact.HasRevision(revision.String()) &&
		equal(s.ObservedIgnore, repo.Spec.Ignore) &&
		selector(s.ObservedLayerSelector) == selector(repo.Spec.LayerSelector)
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// selector returns what s means, with the defaults filled in.
func selector(s *sourcev1.OCILayerSelector) sourcev1.OCILayerSelector {
	out := sourcev1.OCILayerSelector{Operation: sourcev1.OCILayerExtract}
	if s == nil {
		return out
	}
	out.MediaType = s.MediaType
	if s.Operation != "" {
		out.Operation = s.Operation
	}
	return out
}

// publish pulls the layer, gives the archive its name and says so in status.
func (r *Reconciler) publish(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access, revision revision) error {
	blob, metadata, err := r.pull(ctx, repo, access, revision.digest)
	if err != nil {
		return err
	}
	telemetry.Enter(ctx, telemetry.Pack) // a layer that is copied is in no other
	a, err := r.o.Store.Publish(artifact.Publication{
		Object:   r.custodian.Owner(repo),
		File:     revision.digest + ".tar.gz",
		Revision: revision.String(),
		Metadata: metadata,
	}, blob)
	if err != nil {
		return err
	}
	spec := repo.Spec.DeepCopy()
	repo.Status.Artifact = a
	repo.Status.ObservedIgnore, repo.Status.ObservedLayerSelector = spec.Ignore, spec.LayerSelector
	return nil
}

// Annotations of a manifest that say where its content comes from; OCI image
// specification, "Pre-Defined Annotation Keys".
const (
	originSource   = "org.opencontainers.image.source"
	originRevision = "org.opencontainers.image.revision"
)

// stored is the outcome of every success.
func stored(repo *sourcev1.OCIRepository) loop.Done {
	done := custody.Stored(repo, fmt.Sprintf("stored artifact for digest '%s'", repo.Status.Artifact.Revision))
	if origin := repo.Status.Artifact.Metadata[originRevision]; origin != "" {
		done.Metadata["originRevision"] = origin
	}
	return done
}

// announced is stored that tells of a new artifact. One that was only put back is no
// news.
func announced(repo *sourcev1.OCIRepository, before *meta.Artifact) loop.Done {
	done, now := stored(repo), repo.Status.Artifact
	if before.HasRevision(now.Revision) && before.HasDigest(now.Digest) {
		return done
	}
	done.Event = fmt.Sprintf("stored artifact with revision '%s' from '%s'", now.Revision, repo.Spec.URL)
	if source := now.Metadata[originSource]; source != "" {
		done.Event += fmt.Sprintf(", origin source '%s'", source)
	}
	if origin := now.Metadata[originRevision]; origin != "" {
		done.Event += fmt.Sprintf(", origin revision '%s'", origin)
	}
	done.EventReason, done.Changed = sourcev1.NewArtifactReason, true
	return done
}
