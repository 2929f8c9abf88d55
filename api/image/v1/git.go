package v1

import (
	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// CrossNamespaceSourceReference names a GitRepository, possibly of another namespace.
type CrossNamespaceSourceReference struct {
	// APIVersion is the API version of the source; source.toolkit.fluxcd.io/v1 by default.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind is the kind of the source; "GitRepository", the default, is the only one.
	// +kubebuilder:validation:Enum=GitRepository
	// +kubebuilder:default=GitRepository
	// +required
	Kind string `json:"kind"`

	// Name is the name of the source.
	// +required
	Name string `json:"name"`

	// Namespace is where the source is; by default where the automation is. The controller can be run so that no other is
	// allowed.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// String returns the reference as "Kind/name", or "Kind/namespace/name" when it has a namespace.
func (s *CrossNamespaceSourceReference) String() string {
	if s.Namespace != "" {
		return s.Kind + "/" + s.Namespace + "/" + s.Name
	}
	return s.Kind + "/" + s.Name
}

// GitSpec says how to check out, commit and push.
type GitSpec struct {
	// Checkout says what to start from; by default what the GitRepository follows.
	// +optional
	Checkout *GitCheckoutSpec `json:"checkout,omitempty"`

	// Commit says what the commit looks like.
	// +required
	Commit CommitSpec `json:"commit"`

	// Push says where the commit goes; by default to the branch that was checked out.
	// +optional
	Push *PushSpec `json:"push,omitempty"`
}

// HasRefspec reports whether the commit is to be pushed to a refspec.
func (gs GitSpec) HasRefspec() bool { return gs.Push != nil && gs.Push.Refspec != "" }

// GitCheckoutSpec says what to start from.
type GitCheckoutSpec struct {
	// Reference selects the commit, as in a GitRepository.
	// +required
	Reference sourcev1.GitRepositoryRef `json:"ref"`
}

// CommitSpec says what a commit looks like.
type CommitSpec struct {
	// Author is who makes the commit.
	// +required
	Author CommitUser `json:"author"`

	// SigningKey signs the commit. It is not signed by default.
	// +optional
	SigningKey *SigningKey `json:"signingKey,omitempty"`

	// MessageTemplate is a Go template for the commit message. It sees the changes as .Changed, the object as
	// .AutomationObject and messageTemplateValues as .Values. "Update from image update automation" by default.
	// +optional
	MessageTemplate string `json:"messageTemplate,omitempty"`

	// MessageTemplateValues are values of your own for the template.
	// +optional
	MessageTemplateValues map[string]string `json:"messageTemplateValues,omitempty"`
}

// CommitUser is a person, or a robot, in a commit.
type CommitUser struct {
	// Name is the name.
	// +optional
	Name string `json:"name,omitempty"`

	// Email is the e-mail address.
	// +required
	Email string `json:"email"`
}

// SigningKey is a key to sign commits with.
type SigningKey struct {
	// SecretRef names a Secret in the same namespace: OpenPGP in "git.asc", with "passphrase" for a protected key; SSH in
	// "identity", with "password".
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`

	// Type is "gpg" (also when empty) or "ssh".
	// +optional
	Type SigningKeyType `json:"type,omitempty"`
}

// SigningKeyType is the technology of a signing key.
//
// +kubebuilder:validation:Enum=gpg;ssh
type SigningKeyType string

const (
	// SigningKeyTypeGPG is an OpenPGP key. It is the default.
	SigningKeyTypeGPG SigningKeyType = "gpg"
	// SigningKeyTypeSSH is an SSH key.
	SigningKeyTypeSSH SigningKeyType = "ssh"
)

// PushSpec says where a commit goes.
type PushSpec struct {
	// Branch is the branch to push to. By default the one that was checked out; another one is created when it is absent.
	// +optional
	Branch string `json:"branch,omitempty"`

	// Refspec is pushed as well, or instead of the branch when no branch is given: "refs/heads/main:refs/heads/auto".
	// +optional
	Refspec string `json:"refspec,omitempty"`

	// Options are push options for the server, such as those that open a merge request.
	// +optional
	Options map[string]string `json:"options,omitempty"`
}
