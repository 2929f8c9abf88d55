// Kustomize-controller keeps clusters equal to the Kustomizations in them.
package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
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
)

// Feature gates.
const (
	strictSubstitution = "StrictPostBuildSubstitutions"
	additiveReadiness  = "AdditiveCELDependencyCheck"
	workloadIdentity   = "ObjectLevelWorkloadIdentity"
)

// options are the flags of this program.
type options struct {
	concurrentSSA    int
	noRemoteBases    bool
	httpRetry        int
	overrideManagers []string
	cache            string
	ageSecret        string
	vaultConfigMap   string
	decryptAs        string
	kubeconfigAs     string
	kubeconfigExec   bool
	kubeconfigTLS    bool
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.IntVar(&o.concurrentSSA, "concurrent-ssa", 4, "How many objects of one Kustomization are applied at once.")
	fs.BoolVar(&o.noRemoteBases, "no-remote-bases", false, "Refuse remote bases; this version refuses them in any case.")
	fs.IntVar(&o.httpRetry, "http-retry", 9, "How often the download of an artifact is tried again.")
	fs.StringArrayVar(&o.overrideManagers, "override-manager", nil, "A field manager whose fields are taken from it; may be given several times.")
	fs.StringVar(&o.ageSecret, "sops-age-secret", "", "A Secret in the controller's namespace with age identities for all Kustomizations that decrypt.")
	fs.StringVar(&o.vaultConfigMap, "sops-vault-configmap", "", "Not supported by this version; the controller does not start with it.")
	fs.StringVar(&o.decryptAs, "default-decryption-service-account", "", "The service account whose workload identity is used to decrypt; this version uses keys in Secrets only, and never its own identity.")
	fs.StringVar(&o.kubeconfigAs, "default-kubeconfig-service-account", "", "The service account whose tokens reach other clusters when spec.kubeConfig.configMapRef names none.")
	fs.BoolVar(&o.kubeconfigExec, "insecure-kubeconfig-exec", false, "Let kubeconfigs start programs for credentials.")
	fs.BoolVar(&o.kubeconfigTLS, "insecure-kubeconfig-tls", false, "Let kubeconfigs use http and unverified certificates.")
	fs.StringVar(&o.cache, "cache-path", filepath.Join(os.TempDir(), "kustomize-controller"), "The folder for downloaded artifacts. It may be emptied at any time.")
}

func main() {
	var o options
	process.Main(process.Program{
		Name:        "kustomize-controller",
		FieldOwner:  "gotk-kustomize-controller",
		AddToScheme: []func(*runtime.Scheme) error{kustomizev1.AddToScheme, sourcev1.AddToScheme},
		Kinds:       []client.Object{&kustomizev1.Kustomization{}},
		Flags:       o.bind,
		Gates:       map[string]bool{strictSubstitution: true, additiveReadiness: false, workloadIdentity: false},
		Setup:       o.setup,
	})
}

func (o *options) setup(ctx context.Context, env *process.Env) error {
	build.Confine()
	if o.vaultConfigMap != "" {
		return errors.New("--sops-vault-configmap is not supported by this version: use the key sops.vault-token of the Secrets in spec.decryption.secretRef")
	}
	if o.ageSecret != "" && env.RuntimeNamespace == "" {
		return errors.New("--sops-age-secret needs the environment variable RUNTIME_NAMESPACE")
	}
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{
		Dir: o.cache, Retries: o.httpRetry, HostOverride: os.Getenv("SOURCE_CONTROLLER_LOCALHOST"),
	})
	if err != nil {
		return err
	}
	var bell loop.Bell
	applying := apply.Options{
		FieldManager:     "kustomize-controller",
		OwnerGroup:       kustomizev1.GroupVersion.Group,
		Concurrency:      o.concurrentSSA,
		OverrideManagers: o.overrideManagers,
		Notify:           bell.Ring,
		Log:              env.Log.WithName("apply"),
	}
	cluster, err := apply.NewCluster(env.Manager.GetConfig(), applying)
	if err != nil {
		return err
	}
	others := remote.New(applying, remote.Policy{Exec: o.kubeconfigExec, InsecureTLS: o.kubeconfigTLS})
	context.AfterFunc(ctx, func() { cluster.Close(); others.Close() })
	return kustomization.New(kustomization.Options{
		Client:                env.Manager.GetClient(),
		Live:                  env.Manager.GetAPIReader(),
		Recorder:              env.Recorder,
		Fetcher:               fetcher,
		Builder:               build.New(build.Options{NoRemoteBases: o.noRemoteBases}),
		Cluster:               cluster,
		Remote:                others,
		KubeconfigAccount:     o.kubeconfigAs,
		WorkloadIdentity:      env.Enabled(workloadIdentity),
		RequeueDependency:     env.RequeueDependency,
		NoCrossNamespaceRefs:  env.NoCrossNamespaceRefs,
		DefaultServiceAccount: env.DefaultServiceAccount,
		AdditiveReadiness:     env.Enabled(additiveReadiness),
		AgeSecret:             types.NamespacedName{Namespace: env.RuntimeNamespace, Name: o.ageSecret},
		LooseSubstitution:     !env.Enabled(strictSubstitution),
	}).Setup(ctx, env, &bell)
}
