package v1beta3

import (
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// ProviderKind is the kind of a Provider.
const ProviderKind = "Provider"

// Values of ProviderSpec.Type.
const (
	// GenericProvider posts the event as JSON.
	GenericProvider = "generic"
	// GenericHMACProvider posts the event as JSON, signed.
	GenericHMACProvider = "generic-hmac"
	// SlackProvider writes to a Slack channel.
	SlackProvider = "slack"
	// GrafanaProvider makes annotations in Grafana.
	GrafanaProvider = "grafana"
	// DiscordProvider writes to a Discord channel.
	DiscordProvider = "discord"
	// MSTeamsProvider writes to a Microsoft Teams channel.
	MSTeamsProvider = "msteams"
	// RocketProvider writes to a Rocket.Chat channel.
	RocketProvider = "rocket"
	// GitHubDispatchProvider starts GitHub workflows by a repository dispatch.
	GitHubDispatchProvider = "githubdispatch"
	// GitHubProvider sets commit statuses on GitHub.
	GitHubProvider = "github"
	// GitHubPullRequestCommentProvider comments on GitHub pull requests.
	GitHubPullRequestCommentProvider = "githubpullrequestcomment"
	// GitLabProvider sets commit statuses on GitLab.
	GitLabProvider = "gitlab"
	// GitLabMergeRequestCommentProvider comments on GitLab merge requests.
	GitLabMergeRequestCommentProvider = "gitlabmergerequestcomment"
	// GiteaProvider sets commit statuses on Gitea.
	GiteaProvider = "gitea"
	// GiteaPullRequestCommentProvider comments on Gitea pull requests.
	GiteaPullRequestCommentProvider = "giteapullrequestcomment"
	// BitbucketServerProvider sets build statuses on Bitbucket Server.
	BitbucketServerProvider = "bitbucketserver"
	// BitbucketProvider sets build statuses on Bitbucket Cloud.
	BitbucketProvider = "bitbucket"
	// AzureDevOpsProvider sets commit statuses on Azure DevOps.
	AzureDevOpsProvider = "azuredevops"
	// GoogleChatProvider writes to a Google Chat space.
	GoogleChatProvider = "googlechat"
	// GooglePubSubProvider publishes to a Google Pub/Sub topic.
	GooglePubSubProvider = "googlepubsub"
	// WebexProvider writes to a Webex room.
	WebexProvider = "webex"
	// SentryProvider sends to Sentry.
	SentryProvider = "sentry"
	// AzureEventHubProvider sends to an Azure event hub.
	AzureEventHubProvider = "azureeventhub"
	// TelegramProvider writes to a Telegram chat.
	TelegramProvider = "telegram"
	// LarkProvider writes to a Lark chat.
	LarkProvider = "lark"
	// Matrix writes to a Matrix room.
	Matrix = "matrix"
	// OpsgenieProvider makes alerts in Opsgenie.
	OpsgenieProvider = "opsgenie"
	// AlertManagerProvider makes alerts in a Prometheus Alertmanager.
	AlertManagerProvider = "alertmanager"
	// PagerDutyProvider sends to PagerDuty.
	PagerDutyProvider = "pagerduty"
	// DataDogProvider sends to Datadog.
	DataDogProvider = "datadog"
	// NATSProvider publishes to a NATS subject.
	NATSProvider = "nats"
	// ZulipProvider writes to a Zulip stream.
	ZulipProvider = "zulip"
	// OTELProvider sends spans to an OpenTelemetry collector.
	OTELProvider = "otel"
	// ZoomProvider writes to a Zoom channel.
	ZoomProvider = "zoom"
	// IncidentIOProvider makes alerts in incident.io.
	IncidentIOProvider = "incident.io"
)

// ProviderSpec says where events are sent, and how.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'github' || self.type == 'gitlab' || self.type == 'gitea' || self.type == 'bitbucketserver' || self.type == 'bitbucket' || self.type == 'azuredevops' || !has(self.commitStatusExpr)", message="spec.commitStatusExpr is only supported for the 'github', 'gitlab', 'gitea', 'bitbucketserver', 'bitbucket', 'azuredevops' provider types"
type ProviderSpec struct {
	// Type is the service that receives the events, and so their format.
	// +kubebuilder:validation:Enum=slack;discord;msteams;rocket;generic;generic-hmac;github;gitlab;gitea;giteapullrequestcomment;bitbucketserver;bitbucket;azuredevops;googlechat;googlepubsub;webex;sentry;azureeventhub;telegram;lark;matrix;opsgenie;alertmanager;grafana;githubdispatch;githubpullrequestcomment;gitlabmergerequestcomment;pagerduty;datadog;nats;zulip;otel;zoom;incident.io
	// +required
	Type string `json:"type"`

	// Interval has no effect; it is accepted because older objects have it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +optional
	Interval *duration.Duration `json:"interval,omitempty"`

	// Channel is where in the service the events go: a channel, room, topic or subject. 2048 characters at most.
	// +kubebuilder:validation:MaxLength:=2048
	// +optional
	Channel string `json:"channel,omitempty"`

	// Username is the name that messages are written under, where the service lets one choose. 2048 characters at most.
	// +kubebuilder:validation:MaxLength:=2048
	// +optional
	Username string `json:"username,omitempty"`

	// Address is the URL of the service or, for some types, the repository or the project. 2048 characters at most. The
	// "address" of the Secret wins.
	// +kubebuilder:validation:MaxLength:=2048
	// +optional
	Address string `json:"address,omitempty"`

	// Timeout bounds the sending of one event, 15 seconds by default. Hours are not accepted.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// Proxy is the URL of an HTTP proxy to go through, 2048 characters at most. Prefer proxySecretRef: the URL may hold a
	// password.
	// +kubebuilder:validation:Pattern="^(http|https)://.*$"
	// +kubebuilder:validation:MaxLength:=2048
	// +optional
	Proxy string `json:"proxy,omitempty"`

	// ProxySecretRef names a Secret in the same namespace with the HTTP proxy to go through: "address" and, optionally,
	// "username" and "password".
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// SecretRef names a Secret in the same namespace with what the service asks for: "token", "username" and "password",
	// "headers", and "address", which wins over the field.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ServiceAccountName names a ServiceAccount in the same namespace whose workload identity is used. For the types
	// azureeventhub, azuredevops and googlepubsub.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names a Secret in the same namespace with TLS material: "ca.crt" to trust, "tls.crt" and "tls.key" to
	// present.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// Suspend stops the sending with this provider.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// CommitStatusExpr is a CEL expression for the name of a commit status; it sees "event", "alert" and "provider". By
	// default the kind and the name of the object and a part of the provider's UID. Only for the types that set commit
	// statuses.
	// +optional
	CommitStatusExpr string `json:"commitStatusExpr,omitempty"`
}

// Provider says where events are sent, and how.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=all;fluxcd;fluxcd-notifications
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type Provider struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec ProviderSpec `json:"spec,omitempty"`
}

// ProviderList is a list of Providers.
//
// +kubebuilder:object:root=true
type ProviderList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the providers.
	// +required
	Items []Provider `json:"items"`
}

// GetTimeout returns spec.timeout, defaulted to 15 seconds.
func (in *Provider) GetTimeout() time.Duration {
	if in.Spec.Timeout != nil {
		return in.Spec.Timeout.Duration
	}
	return 15 * time.Second
}
