package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weirhq/weir/internal/process"
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
)

// gates are all feature gates with their defaults. The last three are about
// how other implementations work inside: a new revision always ends a wait for
// health here, nothing is polled, and Secrets and ConfigMaps are never cached.
var gates = map[string]bool{
	strictSubstitution: true, additiveReadiness: false, workloadIdentity: false, externalArtifact: false,
	freshSources: false, groupChanges: false, patientHealth: false, ignoreConfigs: false, migrateVersions: false,
	"CancelHealthCheckOnNewRevision": false, "DisableStatusPollerCache": true, "CacheSecretsAndConfigMaps": false,
}

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
	stageKinds       []string
	pruneGuard       string
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
	fs.StringSliceVar(&o.stageKinds, "custom-apply-stage-kinds", nil, "Kinds, as group/Kind, that are applied in a stage of their own before the rest, such as rbac.authorization.k8s.io/Role.")
	fs.StringVar(&o.pruneGuard, "default-prune-guard", "off", "Which deletions are held back until they are approved, for Kustomizations without the annotation weir.dev/prune-guard: off, empty, or a share such as 50%.")
	fs.StringVar(&o.cache, "cache-path", filepath.Join(os.TempDir(), "kustomize-controller"), "The folder for downloaded artifacts. It may be emptied at any time.")
}

// check refuses what this version does not do.
func (o *options) check(env *process.Env) error {
	switch {
	case o.vaultConfigMap != "":
		return errors.New("--sops-vault-configmap is not supported by this version: use the key sops.vault-token of the Secrets in spec.decryption.secretRef")
	case o.ageSecret != "" && env.RuntimeNamespace == "":
		return errors.New("--sops-age-secret needs the environment variable RUNTIME_NAMESPACE")
	case env.Enabled(migrateVersions):
		return fmt.Errorf("--feature-gates: %s is not supported by this version", migrateVersions)
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
