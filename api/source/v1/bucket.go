package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// BucketKind is the kind of a Bucket.
const BucketKind = "Bucket"

// Values of BucketSpec.Provider.
const (
	// BucketProviderGeneric speaks the S3 API with keys from the Secret. It is the default.
	BucketProviderGeneric = "generic"
	// BucketProviderAmazon speaks to Amazon S3, with a workload identity or keys.
	BucketProviderAmazon = "aws"
	// BucketProviderGoogle speaks to Google Cloud Storage.
	BucketProviderGoogle = "gcp"
	// BucketProviderAzure speaks to Azure Blob Storage.
	BucketProviderAzure = "azure"
)

// Values of BucketSTSSpec.Provider.
const (
	// STSProviderAmazon takes temporary credentials from AWS STS.
	STSProviderAmazon = "aws"
	// STSProviderLDAP takes temporary credentials from an S3 server's LDAP endpoint.
	STSProviderLDAP = "ldap"
)

// BucketSpec says which object storage bucket to follow, and how.
//
// +kubebuilder:validation:XValidation:rule="self.provider == 'aws' || self.provider == 'generic' || !has(self.sts)", message="STS configuration is only supported for the 'aws' and 'generic' Bucket providers"
// +kubebuilder:validation:XValidation:rule="self.provider != 'aws' || !has(self.sts) || self.sts.provider == 'aws'", message="'aws' is the only supported STS provider for the 'aws' Bucket provider"
// +kubebuilder:validation:XValidation:rule="self.provider != 'generic' || !has(self.sts) || self.sts.provider == 'ldap'", message="'ldap' is the only supported STS provider for the 'generic' Bucket provider"
// +kubebuilder:validation:XValidation:rule="!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.secretRef)", message="spec.sts.secretRef is not required for the 'aws' STS provider"
// +kubebuilder:validation:XValidation:rule="!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.certSecretRef)", message="spec.sts.certSecretRef is not required for the 'aws' STS provider"
// +kubebuilder:validation:XValidation:rule="self.provider != 'generic' || !has(self.serviceAccountName)", message="ServiceAccountName is not supported for the 'generic' Bucket provider"
// +kubebuilder:validation:XValidation:rule="!has(self.secretRef) || !has(self.serviceAccountName)", message="cannot set both .spec.secretRef and .spec.serviceAccountName"
type BucketSpec struct {
	// Provider is whose API to speak and how to authenticate: "generic" (the default) for any S3 server, "aws", "gcp" or
	// "azure".
	// +kubebuilder:validation:Enum=generic;aws;gcp;azure
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// BucketName is the name of the bucket, for Azure of the container.
	// +required
	BucketName string `json:"bucketName"`

	// Endpoint is the host, with an optional port, of the storage; for Azure the URL of the storage account.
	// +required
	Endpoint string `json:"endpoint"`

	// STS takes temporary credentials from a token service. For the aws and generic providers.
	// +optional
	STS *BucketSTSSpec `json:"sts,omitempty"`

	// Insecure speaks plain HTTP to the endpoint. Off by default.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Region is the region of the endpoint, where the provider needs one.
	// +optional
	Region string `json:"region,omitempty"`

	// Prefix limits the artifact to objects whose key starts with it. Empty means all.
	// +optional
	Prefix string `json:"prefix,omitempty"`

	// SecretRef names a Secret in the same namespace with the credentials. For S3: "accesskey" and "secretkey". For gcp:
	// "serviceaccount". For azure: an account key, a SAS key or the fields of a service principal.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ServiceAccountName names a ServiceAccount in the same namespace whose workload identity is used. Not together with
	// secretRef, and not for the generic provider.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names a Secret in the same namespace with TLS material for the endpoint: "ca.crt" to trust, "tls.crt"
	// and "tls.key" to present.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// ProxySecretRef names a Secret in the same namespace with the HTTP proxy to go through: "address" and, optionally,
	// "username" and "password".
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Interval is the time between two looks at the bucket. Each is varied a little. Zero means never again until
	// something asks for it.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +required
	Interval duration.Duration `json:"interval"`

	// Timeout bounds the fetch, 60 seconds by default. Hours are not accepted.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +optional
	Timeout *duration.Duration `json:"timeout,omitempty"`

	// Ignore holds patterns, in the syntax of .gitignore, of files to leave out of the artifact. They come after the
	// built-in ones and after every .sourceignore file, and the last match decides.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Suspend stops the reconciliation of this bucket. What has been published stays available.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// BucketSTSSpec says where to take temporary credentials from.
type BucketSTSSpec struct {
	// Provider is the kind of token service: "aws" with the aws bucket provider, "ldap" with the generic one.
	// +kubebuilder:validation:Enum=aws;ldap
	// +required
	Provider string `json:"provider"`

	// Endpoint is the http or https URL of the token service.
	// +kubebuilder:validation:Pattern="^(http|https)://.*$"
	// +required
	Endpoint string `json:"endpoint"`

	// SecretRef names a Secret in the same namespace with "username" and "password" for the token service. For ldap only.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// CertSecretRef names a Secret in the same namespace with TLS material for the token service: "ca.crt", "tls.crt",
	// "tls.key". For ldap only.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`
}

// BucketStatus is what was last seen of the bucket.
type BucketStatus struct {
	// ObservedGeneration is the generation of the spec that the status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions tell how the bucket is doing; Ready sums it up.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// URL is a stable address at which the newest artifact is served.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact is what was last published.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// ObservedIgnore is the spec.ignore that the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// Bucket follows a bucket of an object storage and publishes its content.
//
// +genclient
// +kubebuilder:storageversion
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.spec.endpoint`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
type Bucket struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is asked for.
	// +optional
	Spec BucketSpec `json:"spec,omitempty"`

	// Status is what was last seen. The controller writes it.
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status BucketStatus `json:"status,omitempty"`
}

// BucketList is a list of Buckets.
//
// +kubebuilder:object:root=true
type BucketList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items are the buckets.
	// +required
	Items []Bucket `json:"items"`
}
