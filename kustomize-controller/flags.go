package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fluxcd/pkg/cache"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/build/remote"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/telemetry"
)

// Feature gates.
const (
	strictSubstitution = "StrictPostBuildSubstitutions"
	additiveReadiness  = "AdditiveCELDependencyCheck"
	workloadIdentity   = "ObjectLevelWorkloadIdentity"
	externalArtifact   = "ExternalArtifact"
	freshSources       = "DirectSourceFetch"
	groupChanges       = "GroupChangeLog"
	patientHealth      = "DisableFailFastBehavior"
	ignoreConfigs      = "DisableConfigWatchers"
	migrateVersions    = "MigrateAPIVersion"
	tellCanceled       = "CancelHealthCheckOnNewRevision"
)

// gates are all feature gates with their defaults. A new revision always ends a
// wait for health; the gate makes an event of that.
var gates = map[string]bool{
	strictSubstitution: true, additiveReadiness: false, workloadIdentity: false, externalArtifact: false,
	freshSources: false, groupChanges: false, patientHealth: false, ignoreConfigs: false, migrateVersions: false,
	tellCanceled: false,
}

// moot are gates about how other implementations work inside.
var moot = map[string]string{"DisableStatusPollerCache": "health is watched, not polled"}

const dependentsFirst = "dependents-first"

// options are the flags of this program.
type options struct {
	concurrentSSA    int
	noRemoteBases    bool
	remoteHosts      []string
	remoteTimeout    time.Duration
	remoteSize       int64
	httpRetry        int
	overrideManagers []string
	cache            string
	ageSecret        string
	vaultConfigMap   string
	decryptAs        string
	kubeconfigAs     string
	kubeconfigExec   bool
	kubeconfigTLS    bool
	stageKinds       []string
	pruneGuard       string
	deletionOrder    string
	tokens           cache.TokenFlags
	tokenFile        string
	tokenHosts       []string
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.IntVar(&o.concurrentSSA, "concurrent-ssa", 4, "How many objects of one Kustomization are applied at once.")
	fs.BoolVar(&o.noRemoteBases, "no-remote-bases", false, "Refuse kustomizations that name anything by URL.")
	fs.StringSliceVar(&o.remoteHosts, "remote-bases-allow", nil, "The hosts, as host or host:port, that kustomizations may name in URLs. Without it all are allowed but this node's own addresses.")
	fs.DurationVar(&o.remoteTimeout, "remote-bases-timeout", time.Minute, "How long the download of a remote base may take.")
	fs.Int64Var(&o.remoteSize, "remote-bases-max-size", 64<<20, "How many bytes the files of a remote base's repository, or a remote file, may have.")
	fs.IntVar(&o.httpRetry, "http-retry", 9, "How often the download of an artifact is tried again.")
	fs.StringArrayVar(&o.overrideManagers, "override-manager", nil, "A field manager whose fields are taken from it; may be given several times.")
	fs.StringVar(&o.ageSecret, "sops-age-secret", "", "A Secret in the controller's namespace with age identities for all Kustomizations that decrypt.")
	fs.StringVar(&o.vaultConfigMap, "sops-vault-configmap", "", "A ConfigMap in the controller's namespace whose config.yaml lists the Vaults or OpenBaos that service accounts log in to for keys.")
	fs.StringVar(&o.decryptAs, "default-decryption-service-account", "", "The service account whose workload identity asks key services when spec.decryption.serviceAccountName names none; without it, the controller's own identity does.")
	fs.StringVar(&o.kubeconfigAs, "default-kubeconfig-service-account", "", "The service account whose tokens reach other clusters when spec.kubeConfig.configMapRef names none.")
	fs.BoolVar(&o.kubeconfigExec, "insecure-kubeconfig-exec", false, "Let kubeconfigs start programs for credentials.")
	fs.BoolVar(&o.kubeconfigTLS, "insecure-kubeconfig-tls", false, "Let kubeconfigs use http and unverified certificates.")
	fs.StringSliceVar(&o.stageKinds, "custom-apply-stage-kinds", nil, "Kinds, as group/Kind, that are applied in a stage of their own before the rest, such as rbac.authorization.k8s.io/Role.")
	fs.StringVar(&o.pruneGuard, "default-prune-guard", "off", "Which deletions are held back until they are approved, for Kustomizations without the annotation weir.dev/prune-guard: off, empty, or a share such as 50%.")
	fs.StringVar(&o.deletionOrder, "default-deletion-order", "any", "Whether a Kustomization is deleted after those that depend on it and are deleted as well, for Kustomizations without the annotation weir.dev/deletion-order: any, or dependents-first.")
	o.tokens.BindFlags(fs, 100)
	fs.StringVar(&o.tokenFile, "artifact-token-file", "", "A file with the token that is shown to the hosts of --artifact-token-hosts when artifacts are downloaded; read again when it changes.")
	fs.StringSliceVar(&o.tokenHosts, "artifact-token-hosts", nil, "The hosts, as host[:port] in the URLs of artifacts, that are shown the token of --artifact-token-file.")
	fs.StringVar(&o.cache, "cache-path", filepath.Join(os.TempDir(), "kustomize-controller"), "The folder for downloaded artifacts. It may be emptied at any time.")
}

// check refuses what this version does not do.
func (o *options) check(env *process.Env) error {
	switch {
	case (o.ageSecret != "" || o.vaultConfigMap != "") && env.RuntimeNamespace == "":
		return errors.New("--sops-age-secret and --sops-vault-configmap need the environment variable RUNTIME_NAMESPACE")
	case (o.decryptAs != "" || o.kubeconfigAs != "") && !env.Enabled(workloadIdentity):
		return fmt.Errorf("--default-decryption-service-account and --default-kubeconfig-service-account need --feature-gates=%s=true", workloadIdentity)
	case o.deletionOrder != "any" && o.deletionOrder != dependentsFirst:
		return fmt.Errorf("--default-deletion-order: %q is neither any nor %s", o.deletionOrder, dependentsFirst)
	}
	return nil
}

// stage reads --custom-apply-stage-kinds.
func (o *options) stage() ([]schema.GroupKind, error) {
	var kinds []schema.GroupKind
	for _, text := range o.stageKinds {
		group, kind, ok := strings.Cut(text, "/")
		if !ok { // of the core group
			group, kind = "", text
		}
		if kind == "" || strings.Contains(kind, "/") {
			return nil, fmt.Errorf("--custom-apply-stage-kinds: %q is not of the form group/Kind", text)
		}
		kinds = append(kinds, schema.GroupKind{Group: group, Kind: kind})
	}
	return kinds, nil
}

// tokenCache keeps tokens of clouds and Vaults, and counts in metrics; nil when
// the flags want none.
func (o *options) tokenCache() (*cache.TokenCache, error) {
	if o.tokens.MaxSize <= 0 {
		return nil, nil
	}
	return cache.NewTokenCache(o.tokens.MaxSize, append(telemetry.TokenCache("cloud"), cache.WithMaxDuration(o.tokens.MaxDuration))...)
}

// builder makes builds, which name nothing by URL with --no-remote-bases.
func (o *options) builder(ctx context.Context) (*build.Engine, error) {
	if o.noRemoteBases {
		return build.New(build.Options{}), nil
	}
	l, err := remote.New(remote.Options{Dir: filepath.Join(o.cache, "remote-bases"), Hosts: o.remoteHosts, Timeout: o.remoteTimeout, MaxBytes: o.remoteSize})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	return build.New(build.Options{Remote: l}), nil
}
