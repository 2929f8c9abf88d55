package helmchart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/authn"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
)

// layerType is the media type of the archive of a chart in a registry; Helm, "Use
// OCI-based registries". The second is that of its first versions.
const (
	layerType    = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	oldLayerType = "application/tar+gzip"
)

// place is a version of a chart in a registry.
type place struct {
	access       registry.Access
	version, tag string
}

// fromRegistry takes the chart from a registry.
func (r *Reconciler) fromRegistry(ctx context.Context, obj *sourcev1.HelmChart, repo *sourcev1.HelmRepository) (*build, error) {
	p, err := r.look(ctx, obj, repo)
	if err != nil {
		return nil, err
	}
	b := &build{name: path.Base(obj.Spec.Chart), source: p.version}
	if b.version, err = marked(obj, p.version, ""); err != nil {
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
	return b, causes.Failure(ctx, r.fetch(ctx, obj, p, b))
}

// fetch verifies the chart at p as spec.verify says, and puts it into the store.
func (r *Reconciler) fetch(ctx context.Context, obj *sourcev1.HelmChart, p place, b *build) error {
	digest, err := r.o.Registry.Digest(ctx, p.access, p.tag)
	if err != nil {
		return fmt.Errorf("resolving the tag %q: %w", p.tag, err)
	}
	if err := r.verify(ctx, obj, p.access, digest); err != nil {
		return err
	}
	data, err := r.layer(ctx, p.access, digest)
	if err != nil {
		return err
	}
	return r.finish(ctx, obj, b, p.version, data)
}

// look is locate for the chart of obj, within the timeout of its source.
func (r *Reconciler) look(ctx context.Context, obj *sourcev1.HelmChart, repo *sourcev1.HelmRepository) (place, error) {
	ctx, cancel := cause.Within(ctx, sourceTimeout, repo.Spec.Timeout)
	defer cancel()
	p, err := r.locate(ctx, obj, repo, obj.Spec.Chart, obj.Spec.Version)
	return p, causes.Failure(ctx, err)
}

// locate finds the version of a chart: an exact one without asking, the highest of
// a range in the list of tags.
func (r *Reconciler) locate(ctx context.Context, obj *sourcev1.HelmChart, repo *sourcev1.HelmRepository, chart, version string) (p place, err error) {
	if p.access, err = r.access(ctx, obj, repo, chart); err != nil {
		return p, fmt.Errorf("HelmRepository %q: %w", repo.Name, err)
	}
	if _, err := semver.StrictNewVersion(strings.TrimPrefix(version, "v")); err == nil {
		return place{p.access, version, strings.ReplaceAll(version, "+", "_")}, nil
	}
	within, err := chartindex.Range(version)
	if err != nil {
		return p, err
	}
	tags, err := r.o.Registry.Tags(ctx, p.access)
	if err != nil {
		return p, fmt.Errorf("listing the versions of the chart %q: %w", chart, err)
	}
	var best *semver.Version
	for _, tag := range tags {
		text := strings.ReplaceAll(tag, "_", "+") // tags have no "+"
		v, err := semver.StrictNewVersion(strings.TrimPrefix(text, "v"))
		if err == nil && within.Check(v) && (best == nil || v.GreaterThan(best)) {
			best, p.version, p.tag = v, text, tag
		}
	}
	if best == nil {
		return p, fmt.Errorf("the chart %q has no version in the range %q among its %d tags: %w", chart, version, len(tags), chartindex.ErrNoChart)
	}
	return p, nil
}

// access reads how to reach the chart's repository in the registry.
func (r *Reconciler) access(ctx context.Context, obj *sourcev1.HelmChart, repo *sourcev1.HelmRepository, chart string) (registry.Access, error) {
	base, found := strings.CutPrefix(repo.Spec.URL, "oci://")
	if !found {
		return registry.Access{}, fmt.Errorf("spec.url: %w %q: it must start with \"oci://\" for the type \"oci\"", registry.ErrName, secrets.Redact(repo.Spec.URL))
	}
	repository, err := registry.ParseRepository(strings.TrimRight(base, "/")+"/"+chart, repo.Spec.Insecure)
	if err != nil {
		return registry.Access{}, err
	}
	access := registry.Access{Repository: repository, Insecure: repo.Spec.Insecure}
	refs := registry.References{Namespace: repo.Namespace, SecretRef: repo.Spec.SecretRef, CertSecretRef: repo.Spec.CertSecretRef}
	if ref := repo.Spec.SecretRef; ref != nil {
		s, err := secrets.Get(ctx, r.o.Live, repo.Namespace, ref.Name)
		if err != nil {
			return access, fmt.Errorf("spec.secretRef: %w: %w", registry.ErrCredentials, err)
		}
		if user, word := string(s.Data["username"]), string(s.Data["password"]); user != "" && word != "" {
			refs.SecretRef = nil
			access, err = registry.Resolve(ctx, r.o.Live, access, refs)
			access.Auth = authn.AuthConfig{Username: user, Password: word}
			return access, err
		}
	}
	access, err = registry.Resolve(ctx, r.o.Live, access, refs)
	if err != nil || access.Auth != (authn.AuthConfig{}) || repo.Spec.Provider == "" || repo.Spec.Provider == sourcev1.GenericOCIProvider {
		return access, err
	}
	return r.login(ctx, obj, repo, access)
}

// login adds the credentials of spec.provider to access.
func (r *Reconciler) login(ctx context.Context, obj *sourcev1.HelmChart, repo *sourcev1.HelmRepository, access registry.Access) (registry.Access, error) {
	if repo.Spec.Insecure {
		return access, loop.Stall(sourcev1.AuthenticationFailedReason, fmt.Errorf("spec.insecure of HelmRepository %q cannot be set with spec.provider %q: a cloud identity is not sent without TLS", repo.Name, repo.Spec.Provider))
	}
	var err error
	access.Auth, err = r.o.Logins.Get(ctx, cloudlogin.Request{
		Provider: repo.Spec.Provider, Repository: access.Repository, Kind: sourcev1.HelmChartKind, Namespace: obj.Namespace, Name: obj.Name,
	})
	if errors.Is(err, cloudlogin.ErrRegistry) {
		return access, loop.Stall(sourcev1.AuthenticationFailedReason, fmt.Errorf("spec.provider: %w", err))
	}
	if err != nil {
		return access, fmt.Errorf("spec.provider: %w: %w", registry.ErrCredentials, err)
	}
	return access, nil
}

// pull reads the archive of the chart at p.
func (r *Reconciler) pull(ctx context.Context, p place) ([]byte, error) {
	digest, err := r.o.Registry.Digest(ctx, p.access, p.tag)
	if err != nil {
		return nil, fmt.Errorf("resolving the tag %q: %w", p.tag, err)
	}
	return r.layer(ctx, p.access, digest)
}

// layer reads the archive in the manifest with the given digest.
func (r *Reconciler) layer(ctx context.Context, access registry.Access, digest string) ([]byte, error) {
	manifest, err := r.o.Registry.Image(ctx, access, digest)
	if err != nil {
		return nil, fmt.Errorf("pulling the manifest: %w", err)
	}
	for _, l := range manifest.Layers {
		if t := string(l.MediaType); t != layerType && t != oldLayerType {
			continue
		}
		body, err := r.o.Registry.Blob(ctx, access, l.Digest.String(), r.o.Limits.MaxArchive())
		if err != nil {
			return nil, fmt.Errorf("pulling the chart: %w", err)
		}
		defer body.Close()
		data, err := io.ReadAll(body)
		if err != nil {
			return nil, fmt.Errorf("pulling the chart: %w", err)
		}
		return data, nil
	}
	return nil, fmt.Errorf("%w: the artifact %s is no chart: none of its %d layers is of the type %q", errReference, digest, len(manifest.Layers), layerType)
}
