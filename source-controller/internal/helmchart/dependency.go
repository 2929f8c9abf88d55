package helmchart

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/chartfile"
)

// maxDependencies bounds the charts that one chart is made of.
const maxDependencies = 100

// resolver puts the dependencies of a chart into it.
type resolver struct {
	r     *Reconciler
	obj   *sourcev1.HelmChart
	local *local
	count int
}

// resolve adds the dependencies of c, which lies at folder, that it lacks.
func (r *Reconciler) resolve(ctx context.Context, obj *sourcev1.HelmChart, l *local, c *chartfile.Chart, folder string) error {
	s := &resolver{r: r, obj: obj, local: l}
	return s.all(ctx, c, folder, nil)
}

func (s *resolver) all(ctx context.Context, c *chartfile.Chart, folder string, above []string) error {
	for _, d := range c.Metadata.Dependencies {
		if carried(c, d) {
			continue
		}
		if s.count++; s.count > maxDependencies {
			return fmt.Errorf("%w %q: there are more than %d in all", errDependency, d.Name, maxDependencies)
		}
		var err error
		if target, found := strings.CutPrefix(d.Repository, "file://"); found {
			err = s.folder(ctx, c, d, path.Join("/", folder, target), append(above, path.Join("/", folder)))
		} else {
			err = s.remote(ctx, c, d)
		}
		if err != nil {
			return fmt.Errorf("%w %q: %w", errDependency, d.Name, err)
		}
	}
	return nil
}

// carried tells whether the chart has the dependency in its folder "charts".
func carried(c *chartfile.Chart, d *chartv2.Dependency) bool {
	for _, p := range c.Embedded() {
		if p == d.Name+"/Chart.yaml" {
			return true
		}
		rest, found := strings.CutPrefix(p, d.Name+"-")
		version, archive := strings.CutSuffix(rest, ".tgz")
		if !found || !archive || strings.Contains(version, "/") {
			continue
		}
		if _, err := semver.StrictNewVersion(strings.TrimPrefix(version, "v")); err == nil {
			return true
		}
	}
	return false
}

// folder adds a chart of the same source.
func (s *resolver) folder(ctx context.Context, c *chartfile.Chart, d *chartv2.Dependency, p string, above []string) error {
	for _, a := range above {
		if a == p {
			return fmt.Errorf("%q depends on itself", p)
		}
	}
	other, err := s.local.chart(p)
	if err != nil {
		return err
	}
	if other.Metadata.Name != d.Name {
		return fmt.Errorf("%q is the chart %q", d.Repository, other.Metadata.Name)
	}
	if d.Version != "" {
		within, err := semver.NewConstraint(d.Version)
		version, err2 := semver.NewVersion(other.Metadata.Version)
		if err != nil || err2 != nil || !within.Check(version) {
			return fmt.Errorf("%q has the version %q, which is not in the range %q", d.Repository, other.Metadata.Version, d.Version)
		}
	}
	if err := s.all(ctx, other, p, above); err != nil {
		return err
	}
	c.Embed(other)
	return nil
}

// remote adds a chart of a Helm repository. Only repositories that a
// HelmRepository of the namespace names are asked.
func (s *resolver) remote(ctx context.Context, c *chartfile.Chart, d *chartv2.Dependency) error {
	if d.Repository == "" {
		return errors.New("it has no repository and is not in the folder \"charts\"")
	}
	repo, err := s.repository(ctx, d.Repository)
	if err != nil {
		return err
	}
	version, data, err := s.fetch(ctx, repo, d)
	if err != nil {
		if f, ok := errors.AsType[*loop.Failure](err); ok { // the reason is ours
			err = f.Err
		}
		return err
	}
	if _, err := s.r.check(data, d.Name, version); err != nil {
		return err
	}
	c.Put(path.Join("charts", d.Name+"-"+version+".tgz"), data)
	return nil
}

func (s *resolver) fetch(ctx context.Context, repo *sourcev1.HelmRepository, d *chartv2.Dependency) (string, []byte, error) {
	ctx, cancel := cause.Within(ctx, sourceTimeout, repo.Spec.Timeout)
	defer cancel()
	if repo.Spec.Type == sourcev1.HelmRepositoryTypeOCI {
		p, err := s.r.locate(ctx, s.obj, repo, d.Name, d.Version)
		if err != nil {
			return "", nil, err
		}
		data, err := s.r.pull(ctx, p)
		return p.version, data, err
	}
	if repo.Status.Artifact == nil {
		return "", nil, fmt.Errorf("HelmRepository %q has no artifact yet", repo.Name)
	}
	v, err := s.r.find(repo, d.Name, d.Version)
	if err != nil {
		return "", nil, err
	}
	data, err := s.r.download(ctx, repo, v)
	return v.Version, data, err
}

// repository finds the HelmRepository with the address.
func (s *resolver) repository(ctx context.Context, address string) (*sourcev1.HelmRepository, error) {
	if strings.HasPrefix(address, "@") || strings.HasPrefix(address, "alias:") {
		return nil, fmt.Errorf("the repository %q is an alias of somebody's own settings: write its URL", address)
	}
	list := &sourcev1.HelmRepositoryList{}
	if err := s.r.o.Client.List(ctx, list, client.InNamespace(s.obj.Namespace)); err != nil {
		return nil, fmt.Errorf("listing HelmRepositories: %w", err)
	}
	for i := range list.Items {
		if strings.TrimRight(list.Items[i].Spec.URL, "/") == strings.TrimRight(address, "/") {
			return &list.Items[i], nil
		}
	}
	return nil, fmt.Errorf("no HelmRepository in namespace %q has the URL %q: create one", s.obj.Namespace, address)
}
