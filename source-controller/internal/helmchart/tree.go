package helmchart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/source-controller/internal/chartfile"
)

// shortRevision is how much of a hash goes into a version: enough to tell
// revisions apart, and short enough for the labels that charts make of it.
const shortRevision = 12

// fromTree takes the chart from the artifact of a GitRepository or Bucket.
func (r *Reconciler) fromTree(ctx context.Context, obj *sourcev1.HelmChart, a *meta.Artifact) (*build, error) {
	if settled(obj) && obj.Status.ObservedSourceArtifactRevision == a.Revision {
		return keep(obj, a.Revision), nil
	}
	release, err := r.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	t, err := r.o.Fetcher.Load(ctx, a.Digest, func() (io.ReadCloser, error) { return r.o.Store.Open(a) })
	if err != nil {
		return nil, loop.Wait(sourcev1.NoSourceArtifactReason, r.o.RequeueDependency, fmt.Errorf("spec.sourceRef: the artifact cannot be read: %w", err))
	}
	defer t.Close()
	local := &local{r: r, tree: t}
	c, err := local.chart(obj.Spec.Chart)
	if errors.Is(err, chartfile.ErrChart) {
		return nil, fmt.Errorf("%w: %w", errPackage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReference, err)
	}
	revision := ""
	if obj.Spec.ReconcileStrategy == sourcev1.ReconcileStrategyRevision {
		revision = short(a.Revision)
	}
	b := &build{name: c.Metadata.Name, source: a.Revision, packaged: true}
	if b.version, err = marked(obj, c.Metadata.Version, revision); err != nil {
		return nil, err
	}
	if current(obj, b) {
		return keep(obj, a.Revision), nil
	}
	loop.Progress(ctx, fmt.Sprintf("packaging '%s' chart with version '%s'", b.name, b.version))
	if err := r.resolve(ctx, obj, local, c, path.Clean(obj.Spec.Chart)); err != nil {
		return nil, err
	}
	if b.values, err = mergeValues(c, obj, local.values); err != nil {
		return nil, err
	}
	data, err := repackaged(c, b.version)
	if err != nil {
		return nil, err
	}
	b.blob, err = r.o.Store.Put(ctx, bytes.NewReader(data))
	return b, err
}

// short returns the beginning of the hash that a revision ends with.
func short(revision string) string {
	hash := revision[strings.LastIndexAny(revision, ":@/")+1:]
	return hash[:min(len(hash), shortRevision)]
}

// local is the source that a chart is packaged from.
type local struct {
	r    *Reconciler
	tree *artifact.Tree
}

// chart reads the folder or archive at p.
func (l *local) chart(p string) (*chartfile.Chart, error) {
	info, err := l.tree.Stat("/" + p)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q: %w", p, err)
	case info.Kind == artifact.Dir:
		src, err := l.tree.Source(info.Real)
		if err != nil {
			return nil, err
		}
		return chartfile.ReadFolder(src, "", l.r.o.Limits)
	case info.Kind == artifact.Absent:
		return nil, fmt.Errorf("there is no %q in the source", p)
	case info.Size > l.r.o.Limits.MaxArchive():
		return nil, fmt.Errorf("%q: %w: %d bytes are allowed", p, chartfile.ErrTooLarge, l.r.o.Limits.MaxArchive())
	}
	data, err := l.tree.ReadFile(info.Real)
	if err != nil {
		return nil, err
	}
	return chartfile.Read(bytes.NewReader(data), l.r.o.Limits)
}

// values reads a values file, relative to the root of the source.
func (l *local) values(name string) ([]byte, error) {
	info, err := l.tree.Stat("/" + name)
	switch {
	case err != nil:
		return nil, err
	case info.Kind == artifact.Absent:
		return nil, errAbsent
	case info.Kind != artifact.File:
		return nil, errors.New("it is a folder")
	case info.Size > l.r.o.Limits.MaxFile():
		return nil, fmt.Errorf("%w: %d bytes are allowed", chartfile.ErrTooLarge, l.r.o.Limits.MaxFile())
	}
	return l.tree.ReadFile(info.Real)
}
