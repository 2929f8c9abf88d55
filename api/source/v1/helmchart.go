package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// HelmChartKind is the kind of a HelmChart.
const HelmChartKind = "HelmChart"

// Values of HelmChartSpec.ReconcileStrategy.
const (
	// ReconcileStrategyChartVersion publishes when the version of the chart has changed. It is the default.
	ReconcileStrategyChartVersion = "ChartVersion"
	// ReconcileStrategyRevision publishes when the revision of the source has changed.
	ReconcileStrategyRevision = "Revision"
)

// HelmChartSpec says which chart to fetch or package, and from where.
//
// +kubebuilder:validation:XValidation:rule="!has(self.verify) || self.sourceRef.kind == 'HelmRepository'",message="spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'"
type HelmChartSpec struct {
	// Chart is the name of the chart in a HelmRepository, or its path in a GitRepository or Bucket.
	// +required
	Chart string `json:"chart"`

	// Version selects the highest version in this semantic version range; "*", the newest release, by default. Without
	// effect for charts from a GitRepository or Bucket.
	// +kubebuilder:default:=*
	// +optional
	Version string `json:"version,omitempty"`

	// SourceRef names the source of the chart, in the same namespace.
	// +required
	SourceRef LocalHelmChartSourceReference `json:"sourceRef"`

	// Interval is the time between two looks at the source. Each is varied a little. Zero means never again until
	// something asks for it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval"`

	// ReconcileStrategy is what makes a new artifact: "ChartVersion" (the default) a new version of the chart, "Revision"
	// a new revision of the GitRepository or Bucket, which is then added to the version.
	// +kubebuilder:validation:Enum=ChartVersion;Revision
	// +kubebuilder:default:=ChartVersion
	// +optional
	ReconcileStrategy string `json:"reconcileStrategy,omitempty"`

	// ValuesFiles are merged, in this order, into the chart's default values. Paths are relative to the root of the
	// source for a GitRepository or Bucket, to the chart otherwise. By default the chart's values.yaml is left as it is.
	// +optional
	ValuesFiles []string `json:"valuesFiles,omitempty"`

	// IgnoreMissingValuesFiles passes over files of valuesFiles that are not there, instead of failing. Off by default.
	// +optional
	IgnoreMissingValuesFiles bool `json:"ignoreMissingValuesFiles,omitempty"`

	// Suspend stops the reconciliation of this chart. What has been published stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Verify asks for a trusted signature of the chart. Only for a HelmRepository of type oci.
	// +optional
	Verify *HelmChartVerification `json:"verify,omitempty"`
}

// LocalHelmChartSourceReference names a source in the same namespace.
type LocalHelmChartSourceReference struct {
	// APIVersion is the API version of the source. The one of this package by default.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind is the kind of the source.
	// +kubebuilder:validation:Enum=HelmRepository;GitRepository;Bucket
	// +required
	Kind string `json:"kind"`

	// Name is the name of the source.
	// +required
	Name string `json:"name"`
}

// HelmChartStatus is what was last seen of the chart.
type HelmChartStatus struct {
	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ObservedSourceArtifactRevision is the revision of the source that the artifact was made from.
	// +optional
	ObservedSourceArtifactRevision string `json:"observedSourceArtifactRevision,omitempty"`

	// ObservedChartName is the name of the chart, as its metadata states it.
	// +optional
	ObservedChartName string `json:"observedChartName,omitempty"`

	// ObservedValuesFiles are the values files that were merged into the artifact.
	// +optional
	ObservedValuesFiles []string `json:"observedValuesFiles,omitempty"`

	// Conditions tell how the chart is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// URL is a stable address at which the newest artifact is served.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact is the chart that was last published.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// HelmChart fetches a chart from a Helm repository, or packages one from a GitRepository or Bucket, and publishes it.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=hc,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Chart",type=string,JSONPath=`.spec.chart`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Source Kind",type=string,JSONPath=`.spec.sourceRef.kind`
// +kubebuilder:printcolumn:name="Source Name",type=string,JSONPath=`.spec.sourceRef.name`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type HelmChart struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec HelmChartSpec `json:"spec,omitempty"`

	// Status is what was last seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status HelmChartStatus `json:"status,omitempty"`
}

// HelmChartList is a list of HelmCharts.
//
// +kubebuilder:object:root=true
type HelmChartList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the charts.
	// +required
	Items []HelmChart `json:"items"`
}
