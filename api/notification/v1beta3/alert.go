package v1beta3

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

// AlertKind is the kind of an Alert.
const AlertKind = "Alert"

// AlertSpec says which events to send, and where to.
type AlertSpec struct {
	// ProviderRef names the Provider, in the same namespace, that the events are sent with.
	// +required
	ProviderRef meta.LocalObjectReference `json:"providerRef"`

	// EventSeverity is "info" (the default) for all events, or "error" for failures only.
	// +kubebuilder:validation:Enum=info;error
	// +kubebuilder:default:=info
	// +optional
	EventSeverity string `json:"eventSeverity,omitempty"`

	// EventSources lists the objects whose events are sent.
	// +required
	EventSources []notificationv1.CrossNamespaceObjectReference `json:"eventSources"`

	// InclusionList holds Go regular expressions; when there are any, only events are sent whose message matches one.
	// +optional
	InclusionList []string `json:"inclusionList,omitempty"`

	// EventMetadata is added to each event. What the controller itself says under the same key wins.
	// +optional
	EventMetadata map[string]string `json:"eventMetadata,omitempty"`

	// ExclusionList holds Go regular expressions; an event whose message matches one is not sent.
	// +optional
	ExclusionList []string `json:"exclusionList,omitempty"`

	// Summary is added to each event's metadata, 255 characters at most. It is an old way of writing eventMetadata with
	// the key "summary".
	// +kubebuilder:validation:MaxLength:=255
	// +optional
	Summary string `json:"summary,omitempty"`

	// Suspend stops the sending.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// Alert selects events of objects and sends them with a Provider.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=all;fluxcd;fluxcd-notifications
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type Alert struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec AlertSpec `json:"spec,omitempty"`
}

// AlertList is a list of Alerts.
//
// +kubebuilder:object:root=true
type AlertList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the alerts.
	// +required
	Items []Alert `json:"items"`
}
