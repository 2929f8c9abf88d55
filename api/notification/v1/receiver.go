package v1

import (
	"crypto/sha256"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

const (
	// ReceiverKind is the kind of a Receiver.
	ReceiverKind = "Receiver"

	// NotificationFinalizer is the finalizer that the controller keeps on a Receiver.
	NotificationFinalizer = "finalizers.fluxcd.io"

	// ReceiverWebhookPath is what the path of every webhook starts with.
	ReceiverWebhookPath = "/hook/"

	// DefaultOIDCAudience is the audience that a token must be for when the OIDCProvider names none.
	DefaultOIDCAudience = "notification-controller"
)

// Values of ReceiverSpec.Type.
const (
	// GenericReceiver accepts any request that knows the path.
	GenericReceiver = "generic"
	// GenericHMACReceiver wants the body signed in the header X-Signature.
	GenericHMACReceiver = "generic-hmac"
	// GenericOIDCReceiver wants a bearer token of one of spec.oidcProviders.
	GenericOIDCReceiver = "generic-oidc"
	// GitHubReceiver accepts GitHub's webhooks.
	GitHubReceiver = "github"
	// GitLabReceiver accepts GitLab's webhooks.
	GitLabReceiver = "gitlab"
	// BitbucketReceiver accepts the webhooks of Bitbucket.
	BitbucketReceiver = "bitbucket"
	// HarborReceiver accepts the webhooks of a Harbor registry.
	HarborReceiver = "harbor"
	// DockerHubReceiver accepts the webhooks of Docker Hub.
	DockerHubReceiver = "dockerhub"
	// QuayReceiver accepts the webhooks of Quay.
	QuayReceiver = "quay"
	// GCRReceiver accepts pushes of Google Pub/Sub about a Google registry.
	GCRReceiver = "gcr"
	// NexusReceiver accepts the webhooks of a Nexus repository.
	NexusReceiver = "nexus"
	// ACRReceiver accepts the webhooks of an Azure registry.
	ACRReceiver = "acr"
	// CDEventsReceiver accepts CDEvents.
	CDEventsReceiver = "cdevents"
)

// ReceiverSpec says which webhooks to accept, and what they set off.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'generic-oidc' || (has(self.oidcProviders) && size(self.oidcProviders) > 0)",message="generic-oidc receivers must define at least one oidcProvider"
// +kubebuilder:validation:XValidation:rule="self.type == 'generic-oidc' || !has(self.oidcProviders) || size(self.oidcProviders) == 0",message="oidcProviders can only be set when type is generic-oidc"
// +kubebuilder:validation:XValidation:rule="self.type != 'generic-oidc' || !has(self.secretRef)",message="secretRef cannot be set when type is generic-oidc"
// +kubebuilder:validation:XValidation:rule="self.type == 'generic-oidc' || has(self.secretRef)",message="secretRef is required when type is not generic-oidc"
type ReceiverSpec struct {
	// Type is who calls, and so how a request is checked and read.
	// +kubebuilder:validation:Enum=generic;generic-hmac;generic-oidc;github;gitlab;bitbucket;harbor;dockerhub;quay;gcr;nexus;acr;cdevents
	// +required
	Type string `json:"type"`

	// Interval is the time between two looks at the Secret, 10 minutes by default. Each is varied a little.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:default:="10m"
	// +optional
	Interval *duration.Duration `json:"interval,omitempty"`

	// Events lists the events to react to, in the words of the caller, such as "push" for GitHub. All by default. For the
	// types github, gitlab, bitbucket and cdevents.
	// +optional
	Events []string `json:"events,omitempty"`

	// Resources lists the objects to reconcile when a request is accepted.
	// +required
	Resources []ReceiverResource `json:"resources"`

	// ResourceFilter is a CEL expression that decides for each of the resources; it sees the object's metadata as "res",
	// the body of the request as "req" and, for generic-oidc, the token's claims as "claims". All by default.
	// +optional
	ResourceFilter string `json:"resourceFilter,omitempty"`

	// SecretRef names a Secret in the same namespace whose "token" goes into the path of the webhook and, for most types,
	// checks the request. Required for all types but generic-oidc, which cannot have it.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// OIDCProviders lists the issuers whose tokens are accepted. Required for generic-oidc, for no other type.
	// +listType=map
	// +listMapKey=issuerURL
	// +optional
	OIDCProviders []OIDCProvider `json:"oidcProviders,omitempty"`

	// Suspend stops this receiver; its webhook answers 503.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ReceiverResource names objects to reconcile.
type ReceiverResource struct {
	CrossNamespaceObjectReference `json:",inline"`

	// Filter is a CEL expression as in resourceFilter, for these objects only. Where both are set, both must hold.
	// +optional
	Filter string `json:"filter,omitempty"`
}

// OIDCProvider is an issuer whose tokens are accepted, under conditions.
type OIDCProvider struct {
	// IssuerURL is the http or https URL of the issuer, where its discovery document is found.
	// +kubebuilder:validation:Pattern="^https?://"
	// +required
	IssuerURL string `json:"issuerURL"`

	// Audience is whom the token must be for; "notification-controller" by default.
	// +optional
	Audience string `json:"audience,omitempty"`

	// Variables are named CEL expressions over "claims", for use in later variables and in validations.
	// +optional
	Variables []OIDCVariable `json:"variables,omitempty"`

	// Validations must all hold for a token to be accepted; at least one.
	// +kubebuilder:validation:MinItems=1
	// +required
	Validations []OIDCValidation `json:"validations"`
}

// GetAudience returns the audience, defaulted.
func (in *OIDCProvider) GetAudience() string {
	if in.Audience == "" {
		return DefaultOIDCAudience
	}
	return in.Audience
}

// OIDCVariable names the value of a CEL expression.
type OIDCVariable struct {
	// Name is how expressions refer to it, as "vars.<name>".
	// +required
	Name string `json:"name"`

	// Expression is the CEL expression over "claims" and the variables before it.
	// +required
	Expression string `json:"expression"`
}

// OIDCValidation is a condition on a token.
type OIDCValidation struct {
	// Expression is a CEL expression over "claims" and "vars" that must be true.
	// +required
	Expression string `json:"expression"`

	// Message says what is wrong when it is not.
	// +required
	Message string `json:"message"`
}

// ReceiverStatus is where the webhook is found.
type ReceiverStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// Conditions tell how the receiver is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// WebhookPath is the path of the webhook, made from the token, the name and the namespace.
	// +optional
	WebhookPath string `json:"webhookPath,omitempty"`

	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// Receiver accepts webhooks from outside and reconciles objects when one arrives.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=all;fluxcd;fluxcd-notifications
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type Receiver struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec ReceiverSpec `json:"spec,omitempty"`

	// Status is where the webhook is found. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status ReceiverStatus `json:"status,omitempty"`
}

// ReceiverList is a list of Receivers.
//
// +kubebuilder:object:root=true
type ReceiverList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the receivers.
	// +required
	Items []Receiver `json:"items"`
}

// GetWebhookPath returns the path of the webhook for the given token; the token is empty for generic-oidc.
func (in *Receiver) GetWebhookPath(token string) string {
	return fmt.Sprintf("%s%x", ReceiverWebhookPath, sha256.Sum256([]byte(token+in.Name+in.Namespace)))
}
