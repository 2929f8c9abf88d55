package helmchart

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/Masterminds/semver/v3"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/chartfile"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
)

// fromIndex takes the chart from a Helm repository with an index.
func (r *Reconciler) fromIndex(ctx context.Context, obj *sourcev1.HelmChart, repo *sourcev1.HelmRepository) (*build, error) {
	version, err := r.find(repo, obj.Spec.Chart, obj.Spec.Version)
	if err != nil {
		return nil, err
	}
	b := &build{name: obj.Spec.Chart, source: repo.Status.Artifact.Revision}
	if b.version, err = marked(obj, version.Version, ""); err != nil {
		return nil, err
	}
	if current(obj, b) {
		return keep(obj, b.source), nil
	}
	release, err := r.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := cause.Within(ctx, sourceTimeout, repo.Spec.Timeout)
	defer cancel()
	loop.Progress(ctx, fmt.Sprintf("pulling '%s' chart with version '%s'", b.name, b.version))
	data, err := r.download(ctx, repo, version)
	if err == nil {
		err = r.finish(ctx, obj, b, version.Version, data)
	}
	return b, causes.Failure(ctx, err)
}

// find looks the chart up in the index that repo has published.
func (r *Reconciler) find(repo *sourcev1.HelmRepository, chart, version string) (chartindex.Version, error) {
	a := repo.Status.Artifact
	hit := true
	index, err := r.o.Indexes.Get(a.Revision, func() (io.ReadCloser, error) { hit = false; return r.o.Store.Open(a) })
	chartindex.CountLookUp(repo.Namespace, repo.Name, hit)
	if err != nil {
		return chartindex.Version{}, loop.Wait(sourcev1.NoSourceArtifactReason, r.o.RequeueDependency, fmt.Errorf("the index of HelmRepository %q cannot be read: %w", repo.Name, err))
	}
	v, err := index.Find(chart, version)
	if err != nil {
		return v, fmt.Errorf("HelmRepository %q: %w", repo.Name, err)
	}
	return v, nil
}

// download reads the archive of a version, which has the digest that the index
// says.
func (r *Reconciler) download(ctx context.Context, repo *sourcev1.HelmRepository, version chartindex.Version) ([]byte, error) {
	access, err := chartrepo.Resolve(ctx, r.o.Live, repo)
	if err != nil {
		return nil, fmt.Errorf("HelmRepository %q: %w", repo.Name, err)
	}
	target, err := url.Parse(version.URL)
	if err != nil {
		return nil, fmt.Errorf("%w of version %q in the index cannot be parsed", chartrepo.ErrURL, version.Version)
	}
	relative := !target.IsAbs() && target.Host == ""
	target = access.URL.ResolveReference(target)
	if relative && target.RawQuery == "" {
		target.RawQuery = access.URL.RawQuery
	}
	if target.Scheme != "https" && target.Scheme != "http" || target.Host == "" || target.User != nil {
		return nil, fmt.Errorf("%w %q of the index: only https and http without credentials are followed", chartrepo.ErrURL, target.Redacted())
	}
	if access.URL.Scheme == "https" && target.Scheme != "https" && target.Host == access.URL.Host {
		return nil, fmt.Errorf("%w %q of the index leads away from TLS", chartrepo.ErrURL, target.Redacted())
	}
	file, err := r.o.HTTP.Get(ctx, access, target, chartrepo.State{}, r.o.Limits.MaxArchive())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("downloading %q: %w", target.Redacted(), err)
	}
	sum := sha256.Sum256(data)
	if want := strings.TrimPrefix(version.Digest, "sha256:"); want != "" && !strings.EqualFold(want, hex.EncodeToString(sum[:])) {
		return nil, fmt.Errorf("the archive %q has the digest %x, the index says %q", target.Redacted(), sum, want)
	}
	return data, nil
}

// finish puts the downloaded archive into the store: as it is, or with other
// values.
func (r *Reconciler) finish(ctx context.Context, obj *sourcev1.HelmChart, b *build, version string, data []byte) error {
	c, err := r.check(data, b.name, version)
	if err != nil {
		return err
	}
	if len(obj.Spec.ValuesFiles) > 0 {
		b.values, err = mergeValues(c, obj, func(name string) ([]byte, error) {
			if data, found := c.File(name); found {
				return data, nil
			}
			return nil, errAbsent
		})
		if err != nil {
			return err
		}
		if data, err = repackaged(c, b.version); err != nil {
			return err
		}
		b.packaged = true
	}
	b.blob, err = r.o.Store.Put(ctx, bytes.NewReader(data))
	return err
}

// check reads an archive, which must be that of the chart.
func (r *Reconciler) check(data []byte, name, version string) (*chartfile.Chart, error) {
	c, err := chartfile.Read(bytes.NewReader(data), r.o.Limits)
	if err != nil {
		return nil, err
	}
	want, err1 := semver.NewVersion(version)
	got, err2 := semver.NewVersion(c.Metadata.Version)
	if c.Metadata.Name != name || err1 != nil || err2 != nil || !want.Equal(got) {
		return nil, fmt.Errorf("%w: the archive is that of %q with version %q, not of %q with version %q", chartfile.ErrChart, c.Metadata.Name, c.Metadata.Version, name, version)
	}
	return c, nil
}

// errAbsent says that a values file is not there.
var errAbsent = errors.New("there is no such file")

// mergeValues makes spec.valuesFiles the chart's values, and returns which there were.
func mergeValues(c *chartfile.Chart, obj *sourcev1.HelmChart, read func(name string) ([]byte, error)) ([]string, error) {
	var documents [][]byte
	var merged []string
	for _, name := range obj.Spec.ValuesFiles {
		data, err := read(name)
		if errors.Is(err, errAbsent) && obj.Spec.IgnoreMissingValuesFiles {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", errValues, name, err)
		}
		documents, merged = append(documents, data), append(merged, name)
	}
	if len(merged) == 0 {
		return nil, nil
	}
	if err := c.SetValues(documents); err != nil {
		return nil, fmt.Errorf("%w: merging %q: %w", errValues, merged, err)
	}
	return merged, nil
}

// repackaged returns the archive of c under another version.
func repackaged(c *chartfile.Chart, version string) ([]byte, error) {
	if err := c.SetVersion(version); err != nil {
		return nil, fmt.Errorf("%w: %w", errPackage, err)
	}
	data, err := c.Package()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPackage, err)
	}
	return data, nil
}
