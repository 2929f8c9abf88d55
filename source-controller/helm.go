package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/helmrepository"
)

// helmOptions are the flags about Helm repositories and charts.
type helmOptions struct {
	indexMax             int64
	cacheItems           int
	cacheTTL, cachePurge time.Duration
}

func (o *helmOptions) bind(fs *pflag.FlagSet) {
	fs.Int64Var(&o.indexMax, "helm-index-max-size", helmrepository.DefaultMaxIndex, "How many bytes the index of a Helm repository may have.")
	fs.IntVar(&o.cacheItems, "helm-cache-max-size", 0, "How many parsed indexes of Helm repositories are kept; 0 means 16.")
	fs.DurationVar(&o.cacheTTL, "helm-cache-ttl", 15*time.Minute, "How long a parsed index is kept that nobody asks for.")
	fs.DurationVar(&o.cachePurge, "helm-cache-purge-interval", time.Minute, "How often indexes are looked for that nobody asked for.")
}

// setup registers the kinds of Helm.
func (o *helmOptions) setup(env *process.Env, store *artifact.Store) error {
	indexes := chartindex.NewCache(o.cacheItems, o.cacheTTL)
	if err := env.Manager.Add(o.purge(indexes)); err != nil {
		return err
	}
	return helmrepository.New(helmrepository.Options{
		Client: env.Manager.GetAPIReader(), Recorder: env.Recorder, Store: store, HTTP: &chartrepo.Client{}, Indexes: indexes, MaxIndex: o.indexMax,
	}).Setup(env)
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
