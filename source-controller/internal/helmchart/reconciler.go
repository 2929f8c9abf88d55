package helmchart

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/sync/semaphore"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/source-controller/internal/chartfile"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/custody"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// latest is the stable name of the newest artifact, which status.url names.
const latest = "latest.tar.gz"

// Options are what a Reconciler works with.
type Options struct {
	Client            client.Reader // reads sources
	Live              client.Reader // reads Secrets
	Recorder          *events.Recorder
	Store             *artifact.Store
	Fetcher           *artifact.Fetcher // unpacks the artifacts of sources
	HTTP              *chartrepo.Client
	Indexes           *chartindex.Cache
	Registry          *registry.Client
	Public            *signature.Public // the trusted root of keyless signatures
	Logins            *cloudlogin.Logins
	Limits            chartfile.Limits
	RequeueDependency time.Duration // how long to wait for a source at the most
	Builds            int           // charts that are pulled or packaged at once; 0 means 1
	Bell              *loop.Bell    // brings objects back whose artifact was lost; may be nil
	Fetch             custody.Fetch // from other replicas; may be nil
}

// Reconciler is the loop.Worker of HelmCharts. Looking at a registry is waiting, so
// many objects do that at once; what comes after it is work, for Options.Builds at
// once.
type Reconciler struct {
	o         Options
	custodian *custody.Custodian
	turns     *semaphore.Weighted
}

// New returns a Reconciler.
func New(o Options) *Reconciler {
	return &Reconciler{
		o: o, turns: semaphore.NewWeighted(int64(max(1, o.Builds))),
		custodian: &custody.Custodian{Kind: sourcev1.HelmChartKind, Store: o.Store, Recorder: o.Recorder, Fetch: o.Fetch},
	}
}

// turn waits until fewer than Options.Builds charts are being made.
func (r *Reconciler) turn(ctx context.Context) (release func(), err error) {
	loop.Progress(ctx, "waiting to make the chart")
	if err := r.turns.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { r.turns.Release(1) }, nil
}

// build is a chart to publish.
type build struct {
	name, version string
	source        string   // revision that it comes from
	values        []string // files that were merged
	packaged      bool
	kept          bool // it is what is published already
	blob          artifact.Blob
}

// Reconcile publishes the version of the chart that is asked for.
func (r *Reconciler) Reconcile(ctx context.Context, obj *sourcev1.HelmChart) (loop.Done, error) {
	before := obj.Status.Artifact
	r.custodian.Check(obj, &obj.Status.Artifact, &obj.Status.URL)
	telemetry.Enter(ctx, telemetry.Fetch)
	b, err := r.build(ctx, obj)
	if err != nil {
		return loop.Done{}, causes.Failure(ctx, err)
	}
	if !b.kept {
		telemetry.Enter(ctx, telemetry.Pack)
		if err := r.publish(obj, b); err != nil {
			return loop.Done{}, causes.Failure(ctx, err)
		}
		r.custodian.Collect(obj, before)
	}
	obj.Status.ObservedSourceArtifactRevision = b.source
	if obj.Status.URL, err = r.o.Store.Alias(obj.Status.Artifact, latest); err != nil {
		return loop.Done{}, causes.Failure(ctx, err)
	}
	obj.Status.Artifact.URL = r.o.Store.URL(obj.Status.Artifact.Path)
	return announced(obj, before), nil
}

// Finalize removes what was published.
func (r *Reconciler) Finalize(_ context.Context, obj *sourcev1.HelmChart) error {
	return r.custodian.Remove(obj)
}

// Keep implements loop.Keeper.
func (r *Reconciler) Keep(ctx context.Context, obj *sourcev1.HelmChart) (*loop.Done, error) {
	return r.custodian.Keep(ctx, obj, func() loop.Done {
		s := &obj.Status
		stored(obj, &build{
			name: s.ObservedChartName, version: s.Artifact.Revision, values: s.ObservedValuesFiles,
			packaged: len(s.ObservedValuesFiles) > 0 || obj.Spec.SourceRef.Kind != sourcev1.HelmRepositoryKind,
		})
		return announced(obj, s.Artifact)
	})
}

// settled tells whether the artifact was made for this spec. Its condition says
// so, and not status.observedGeneration, which a failure moves on, too.
func settled(obj *sourcev1.HelmChart) bool {
	c := apimeta.FindStatusCondition(obj.Status.Conditions, sourcev1.ArtifactInStorageCondition)
	return obj.Status.Artifact != nil && c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == obj.Generation
}

// current tells whether the artifact is this version of the chart.
func current(obj *sourcev1.HelmChart, b *build) bool {
	return settled(obj) && obj.Status.ObservedChartName == b.name && obj.Status.Artifact.HasRevision(b.version)
}

// keep is what is published already, of the given revision of the source.
func keep(obj *sourcev1.HelmChart, source string) *build {
	return &build{name: obj.Status.ObservedChartName, version: obj.Status.Artifact.Revision, source: source, kept: true}
}

// marked returns version with metadata that tells builds of it apart: the revision
// of the source where that counts, and the generation when values are merged.
func marked(obj *sourcev1.HelmChart, version, revision string) (string, error) {
	metadata := revision
	if len(obj.Spec.ValuesFiles) > 0 {
		if metadata != "" {
			metadata += "."
		}
		metadata += strconv.FormatInt(obj.Generation, 10)
	}
	if metadata == "" {
		return version, nil
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return "", fmt.Errorf("%w: the version %q: %w", errPackage, version, err)
	}
	with, err := v.SetMetadata(metadata)
	if err != nil {
		return "", fmt.Errorf("%w: the version %q with %q: %w", errPackage, version, metadata, err)
	}
	return with.String(), nil
}

// publish gives the archive its name and says so in status.
func (r *Reconciler) publish(obj *sourcev1.HelmChart, b *build) error {
	a, err := r.o.Store.Publish(artifact.Publication{
		Object: r.custodian.Owner(obj), File: b.name + "-" + b.version + ".tgz", Revision: b.version,
	}, b.blob)
	if err != nil {
		return err
	}
	obj.Status.Artifact, obj.Status.ObservedChartName, obj.Status.ObservedValuesFiles = a, b.name, b.values
	stored(obj, b)
	return nil
}

// stored says of the chart that it is in storage.
func stored(obj *sourcev1.HelmChart, b *build) {
	reason, message := sourcev1.ChartPullSucceededReason, fmt.Sprintf("pulled '%s' chart with version '%s'", b.name, b.version)
	if b.packaged {
		reason, message = sourcev1.ChartPackageSucceededReason, fmt.Sprintf("packaged '%s' chart with version '%s'", b.name, b.version)
	}
	if len(b.values) > 0 {
		message += fmt.Sprintf(", with merged values files %v", b.values)
	}
	apimeta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
		Type: sourcev1.ArtifactInStorageCondition, Status: metav1.ConditionTrue, ObservedGeneration: obj.Generation, Reason: reason, Message: message,
	})
}

// announced is the outcome of every success. An artifact that was only put back
// is no news.
func announced(obj *sourcev1.HelmChart, before *meta.Artifact) loop.Done {
	now := obj.Status.Artifact
	c := apimeta.FindStatusCondition(obj.Status.Conditions, sourcev1.ArtifactInStorageCondition)
	return loop.Done{
		Reason: c.Reason, Message: c.Message, Metadata: map[string]string{"revision": now.Revision, "digest": now.Digest},
		Changed: !before.HasRevision(now.Revision) || !before.HasDigest(now.Digest),
	}
}
