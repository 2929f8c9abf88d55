package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// GitRepositoryKind is the kind of a GitRepository.
const GitRepositoryKind = "GitRepository"

// Values of GitRepositorySpec.Provider.
const (
	// GitProviderGeneric authenticates with what the Secret holds. It is the default.
	GitProviderGeneric = "generic"
	// GitProviderAzure authenticates to Azure DevOps with a workload identity.
	GitProviderAzure = "azure"
	// GitProviderGitHub authenticates as a GitHub App with the key in the Secret.
	GitProviderGitHub = "github"
	// GitProviderAWS authenticates to AWS CodeCommit with a workload identity.
	GitProviderAWS = "aws"
)

// GitVerificationMode says which Git objects must carry a trusted signature.
type GitVerificationMode string

const (
	// ModeGitHEAD wants the commit signed. It is the default.
	ModeGitHEAD GitVerificationMode = "HEAD"
	// ModeGitTag wants the annotated tag signed that spec.ref selects.
	ModeGitTag GitVerificationMode = "Tag"
	// ModeGitTagAndHEAD wants both the tag and its commit signed.
	ModeGitTagAndHEAD GitVerificationMode = "TagAndHEAD"
)

// GitRepositorySpec says which Git repository to follow, and how.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountName) || (has(self.provider) && (self.provider == 'azure' || self.provider == 'aws'))",message="serviceAccountName can only be set when provider is 'azure' or 'aws'"
type GitRepositorySpec struct {
	// URL is the address of the repository: http, https or ssh. The form "user@host:path" is not accepted; write
	// "ssh://user@host/path".
	// +kubebuilder:validation:Pattern="^(http|https|ssh)://.*$"
	// +required
	URL string `json:"url"`

	// SecretRef names a Secret in the same namespace with the credentials. For HTTP(S): "username" and "password", or
	// "bearerToken", and "ca.crt", "tls.crt", "tls.key". For SSH: "identity", "known_hosts" and, for a protected key,
	// "password". For the github provider: the keys of the GitHub App. Without it the repository is read anonymously.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Provider selects how to authenticate: "generic" (also when empty) with the Secret, "aws" or "azure" with a
	// workload identity, "github" as a GitHub App.
	// +kubebuilder:validation:Enum=generic;aws;azure;github
	// +optional
	Provider string `json:"provider,omitempty"`

	// ServiceAccountName names a ServiceAccount in the same namespace whose workload identity is used instead of the
	// controller's own. Only for the aws and azure providers.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Interval is the time between two looks at the repository, such as "1m" or "12h". Each is varied a little so that
	// many objects do not fall on the same moment. Zero means never again until something asks for it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval"`

	// Timeout bounds each Git operation, 60 seconds by default. Hours are not accepted.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// Reference selects the commit to publish; the tip of the branch "master" by default.
	// +optional
	Reference *GitRepositoryRef `json:"ref,omitempty"`

	// Verification asks for trusted signatures. A revision that lacks one is not published.
	// +optional
	Verification *GitRepositoryVerification `json:"verify,omitempty"`

	// ProxySecretRef names a Secret in the same namespace with the HTTP proxy to go through: "address" and, optionally,
	// "username" and "password".
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Ignore holds patterns, in the syntax of .gitignore, of files to leave out of the artifact. They come after the
	// built-in ones and after every .sourceignore file, and the last match decides.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Suspend stops the reconciliation of this repository. What has been published stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// RecurseSubmodules includes the content of submodules. The credentials go to the scheme, host and port of spec.url
	// only. Off by default.
	// +optional
	RecurseSubmodules bool `json:"recurseSubmodules,omitempty"`

	// Include copies content of other GitRepositories of the same namespace into the artifact.
	// +optional
	Include []GitRepositoryInclude `json:"include,omitempty"`

	// SparseCheckout limits the artifact to these directories of the repository. Empty means all.
	// +optional
	SparseCheckout []string `json:"sparseCheckout,omitempty"`
}

// GitRepositoryInclude copies a part of another GitRepository's artifact.
type GitRepositoryInclude struct {
	// GitRepositoryRef names the GitRepository to copy from, in the same namespace.
	// +required
	GitRepositoryRef meta.LocalObjectReference `json:"repository"`

	// FromPath is the directory to copy, relative to the root of the other artifact. Its root by default.
	// +optional
	FromPath string `json:"fromPath,omitempty"`

	// ToPath is where the copy goes, relative to the root of this artifact. By default the name of the other repository.
	// +optional
	ToPath string `json:"toPath,omitempty"`
}

// GetFromPath returns the directory to copy, "" for the root.
func (in *GitRepositoryInclude) GetFromPath() string { return in.FromPath }

// GetToPath returns where the copy goes, defaulted.
func (in *GitRepositoryInclude) GetToPath() string {
	if in.ToPath == "" {
		return in.GitRepositoryRef.Name
	}
	return in.ToPath
}

// GitRepositoryRef selects a commit. When several fields are set, the first of commit, name, semver, tag and branch wins.
type GitRepositoryRef struct {
	// Branch follows the tip of this branch; "master" when nothing in the reference is set. With commit it is the branch
	// to find the commit on.
	// +optional
	Branch string `json:"branch,omitempty"`

	// Tag selects this tag.
	// +optional
	Tag string `json:"tag,omitempty"`

	// SemVer selects the highest tag that is a semantic version in this range, such as ">=1.2.0 <2.0.0".
	// +optional
	SemVer string `json:"semver,omitempty"`

	// Name follows a reference by its full name, such as "refs/pull/420/head".
	// +optional
	Name string `json:"name,omitempty"`

	// Commit pins to this commit, written in full.
	// +optional
	Commit string `json:"commit,omitempty"`
}

// GitRepositoryVerification says which signatures to ask for, and whom to trust.
type GitRepositoryVerification struct {
	// Mode is what must be signed: "HEAD" the commit (the default; "head" is an old spelling of it), "Tag" the tag,
	// "TagAndHEAD" both.
	// +kubebuilder:validation:Enum=head;HEAD;Tag;TagAndHEAD
	// +kubebuilder:default:=HEAD
	// +optional
	Mode GitVerificationMode `json:"mode,omitempty"`

	// SecretRef names a Secret in the same namespace with the trusted public keys: OpenPGP in "*.asc", SSH in "*.sshpub".
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`
}

// GitRepositoryStatus is what was last seen of the repository.
type GitRepositoryStatus struct {
	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the repository is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Artifact is what was last published.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// IncludedArtifacts are the artifacts that spec.include copied from, in its order.
	// +optional
	IncludedArtifacts []*meta.Artifact `json:"includedArtifacts,omitempty"`

	// ObservedIgnore is the spec.ignore that the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	// ObservedRecurseSubmodules is the spec.recurseSubmodules that the artifact was made with.
	// +optional
	ObservedRecurseSubmodules bool `json:"observedRecurseSubmodules,omitempty"`

	// ObservedInclude is the spec.include that the artifact was made with.
	// +optional
	ObservedInclude []GitRepositoryInclude `json:"observedInclude,omitempty"`

	// ObservedSparseCheckout is the spec.sparseCheckout that the artifact was made with.
	// +optional
	ObservedSparseCheckout []string `json:"observedSparseCheckout,omitempty"`

	// SourceVerificationMode is what was verified of the artifact's revision; absent when nothing was.
	// +optional
	SourceVerificationMode *GitVerificationMode `json:"sourceVerificationMode,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// GitRepository follows a Git repository and publishes the tree of the selected commit.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=gitrepo,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type GitRepository struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec GitRepositorySpec `json:"spec,omitempty"`

	// Status is what was last seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status GitRepositoryStatus `json:"status,omitempty"`
}

// GitRepositoryList is a list of GitRepositories.
//
// +kubebuilder:object:root=true
type GitRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the repositories.
	// +required
	Items []GitRepository `json:"items"`
}

// GetProvider returns spec.provider, defaulted.
func (in *GitRepository) GetProvider() string {
	if in.Spec.Provider == "" {
		return GitProviderGeneric
	}
	return in.Spec.Provider
}

// Valid reports whether m is one of the modes, in today's spelling.
func (m GitVerificationMode) Valid() bool {
	return m == ModeGitHEAD || m == ModeGitTag || m == ModeGitTagAndHEAD
}

// GetMode returns spec.verify.mode, defaulted; the old spelling "head" is "HEAD".
func (v *GitRepositoryVerification) GetMode() GitVerificationMode {
	if v.Mode.Valid() {
		return v.Mode
	}
	return ModeGitHEAD
}

// VerifyHEAD reports whether the commit must be signed.
func (v *GitRepositoryVerification) VerifyHEAD() bool { return v.GetMode() != ModeGitTag }

// VerifyTag reports whether the tag must be signed.
func (v *GitRepositoryVerification) VerifyTag() bool { return v.GetMode() != ModeGitHEAD }
