// Kustomize-controller keeps clusters equal to the Kustomizations in them.
package main

import (
	"context"
	"fmt"
	"os"
	_ "time/tzdata" // maintenance windows name time zones, and images have none

	"github.com/fluxcd/pkg/auth"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/kustomize-controller/internal/kustomization"
	"github.com/weirhq/weir/kustomize-controller/internal/remote"
	"github.com/weirhq/weir/kustomize-controller/internal/wish"
)

func main() {
	var o options
	process.Main(process.Program{
		Name:        "kustomize-controller",
		FieldOwner:  "gotk-kustomize-controller",
		AddToScheme: []func(*runtime.Scheme) error{kustomizev1.AddToScheme, sourcev1.AddToScheme},
		Kinds:       []client.Object{&kustomizev1.Kustomization{}},
		Flags:       o.bind,
		GCPercent:   50, // schemas and caches stay; garbage as large as they are would double the memory
		Gates:       gates,
		Moot:        moot,
		Setup:       o.setup,
	})
}

func (o *options) setup(ctx context.Context, env *process.Env) error {
	build.Confine()
	if err := o.check(env); err != nil {
		return err
	}
	stage, err := o.stage()
	if err != nil {
		return err
	}
	guard, err := wish.ParseGuard(o.pruneGuard)
	if err != nil {
		return fmt.Errorf("--default-prune-guard: %w", err)
	}
	identity, err := artifact.NewIdentity(o.tokenFile, o.tokenHosts)
	if err != nil {
		return fmt.Errorf("--artifact-token-file and --artifact-token-hosts: %w", err)
	}
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{
		Dir: o.cache, Retries: o.httpRetry, HostOverride: os.Getenv("SOURCE_CONTROLLER_LOCALHOST"), Identity: identity,
	})
	if err != nil {
		return err
	}
	builder, err := o.builder(ctx)
	if err != nil {
		return err
	}
	tokens, err := o.tokenCache()
	if err != nil {
		return err
	}
	if env.Enabled(workloadIdentity) {
		auth.EnableObjectLevelWorkloadIdentity()
	}
	var bell loop.Bell
	applying := apply.Options{
		FieldManager:     "kustomize-controller",
		OwnerGroup:       kustomizev1.GroupVersion.Group,
		Concurrency:      o.concurrentSSA,
		OverrideManagers: o.overrideManagers,
		StageKinds:       stage,
		MigrateVersions:  env.Enabled(migrateVersions),
		Notify:           bell.Ring,
		Log:              env.Log.WithName("apply"),
	}
	cluster, err := apply.NewCluster(env.Manager.GetConfig(), applying)
	if err != nil {
		return err
	}
	others := remote.New(applying, remote.Policy{Exec: o.kubeconfigExec, InsecureTLS: o.kubeconfigTLS})
	show(env, fetcher, builder, cluster, others)
	context.AfterFunc(ctx, func() { cluster.Close(); others.Close() })
	return kustomization.New(kustomization.Options{
		Client:                env.Manager.GetClient(),
		Live:                  env.Manager.GetAPIReader(),
		Recorder:              env.Recorder,
		Fetcher:               fetcher,
		Builder:               builder,
		Cluster:               cluster,
		Remote:                others,
		KubeconfigAccount:     o.kubeconfigAs,
		DecryptionAccount:     o.decryptAs,
		VaultConfig:           types.NamespacedName{Namespace: env.RuntimeNamespace, Name: o.vaultConfigMap},
		Tokens:                tokens,
		WorkloadIdentity:      env.Enabled(workloadIdentity),
		RequeueDependency:     env.RequeueDependency,
		NoCrossNamespaceRefs:  env.NoCrossNamespaceRefs,
		DefaultServiceAccount: env.DefaultServiceAccount,
		WatchConfigs:          !env.Enabled(ignoreConfigs),
		ExternalArtifacts:     env.Enabled(externalArtifact),
		FreshSources:          env.Enabled(freshSources),
		GroupChanges:          env.Enabled(groupChanges),
		PatientHealth:         env.Enabled(patientHealth),
		AdditiveReadiness:     env.Enabled(additiveReadiness),
		TellCanceled:          env.Enabled(tellCanceled),
		PruneGuard:            guard,
		DependentsFirst:       o.deletionOrder == dependentsFirst,
		AgeSecret:             types.NamespacedName{Namespace: env.RuntimeNamespace, Name: o.ageSecret},
		LooseSubstitution:     !env.Enabled(strictSubstitution),
	}).Setup(ctx, env, &bell)
}

// show adds the parts of this program to /debug/state.
func show(env *process.Env, fetcher *artifact.Fetcher, builder *build.Engine, cluster *apply.Cluster, others *remote.Clusters) {
	env.State.Add("artifacts", func() any { return fetcher.State() })
	env.State.Add("builds", func() any { return builder.State() })
	env.State.Add("watches", func() any { return cluster.State() })
	env.State.Add("clusters", func() any { return others.State() })
}
