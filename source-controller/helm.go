package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/chartfile"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/helmchart"
	"github.com/weirhq/weir/source-controller/internal/helmrepository"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// helmOptions are the flags about Helm repositories and charts.
type helmOptions struct {
	indexMax             int64
	charts               chartfile.Limits
	cacheItems           int
	cacheTTL, cachePurge time.Duration
}

func (o *helmOptions) bind(fs *pflag.FlagSet) {
	fs.Int64Var(&o.indexMax, "helm-index-max-size", helmrepository.DefaultMaxIndex, "How many bytes the index of a Helm repository may have.")
	fs.Int64Var(&o.charts.Archive, "helm-chart-max-size", chartfile.DefaultMaxArchive, "How many bytes the archive of a Helm chart may have.")
	fs.Int64Var(&o.charts.File, "helm-chart-file-max-size", chartfile.DefaultMaxFile, "How many bytes a file in a Helm chart may have.")
	fs.IntVar(&o.cacheItems, "helm-cache-max-size", 0, "How many parsed indexes of Helm repositories are kept; 0 means 16.")
	fs.DurationVar(&o.cacheTTL, "helm-cache-ttl", 15*time.Minute, "How long a parsed index is kept that nobody asks for.")
	fs.DurationVar(&o.cachePurge, "helm-cache-purge-interval", time.Minute, "How often indexes are looked for that nobody asked for.")
}

// setup registers the kinds of Helm.
func (o *helmOptions) setup(ctx context.Context, env *process.Env, store *artifact.Store, fetcher *artifact.Fetcher, logins *cloudlogin.Logins, kept *keeping) error {
	indexes, web := chartindex.NewCache(o.cacheItems, o.cacheTTL), &chartrepo.Client{}
	env.State.Add("helmIndexes", func() any { return indexes.State() })
	if err := env.Manager.Add(o.purge(indexes)); err != nil {
		return err
	}
	err := helmrepository.New(helmrepository.Options{
		Client: env.Manager.GetAPIReader(), Recorder: env.Recorder, Store: store, HTTP: web, Indexes: indexes, MaxIndex: o.indexMax,
		Reads: env.Concurrent, Bell: kept.bells[sourcev1.HelmRepositoryKind], Fetch: kept.fetch,
	}).Setup(env)
	if err != nil {
		return err
	}
	return helmchart.New(helmchart.Options{
		Client: env.Manager.GetClient(), Live: env.Manager.GetAPIReader(), Recorder: env.Recorder, Store: store, Fetcher: fetcher,
		HTTP: web, Indexes: indexes, Registry: &registry.Client{}, Public: &signature.Public{}, Logins: logins, Limits: o.charts,
		RequeueDependency: env.RequeueDependency, Builds: env.Concurrent, Bell: kept.bells[sourcev1.HelmChartKind], Fetch: kept.fetch,
	}).Setup(ctx, env)
}

// purge forgets indexes that nobody asks for.
func (o *helmOptions) purge(indexes *chartindex.Cache) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(max(o.cachePurge, time.Second)):
				indexes.Purge()
			}
		}
	})
}
