package v1

import (
	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
)

// The kinds of this group have the conditions Ready, Reconciling and Stalled, whose types and shared reasons (Succeeded,
// Failed, Progressing, ProgressingWithRetry, FeatureGateDisabled) are those of github.com/fluxcd/pkg/apis/meta. Below are
// the reasons that Ready, and Stalled with it, can have besides.

const (
	// ImageURLInvalidReason says that spec.image of an ImageRepository is not the name of an image.
	ImageURLInvalidReason = "ImageURLInvalid"

	// AuthenticationFailedReason says that the credentials for the registry are missing, not usable or refused.
	AuthenticationFailedReason = "AuthenticationFailed"

	// ReadOperationFailedReason says that the tags, or a digest, could not be read.
	ReadOperationFailedReason = "ReadOperationFailed"
)

const (
	// AccessDeniedReason says that the object that is referred to, in another namespace, does not allow it, or that the
	// controller was told not to allow any.
	AccessDeniedReason = acl.AccessDeniedReason

	// DependencyNotReadyReason says that the ImageRepository of an ImagePolicy is not there, or was not scanned yet.
	DependencyNotReadyReason = meta.DependencyNotReadyReason

	// InvalidPolicyReason says that the policy of an ImagePolicy, or its tag filter, is not usable.
	InvalidPolicyReason = "InvalidPolicy"

	// IntervalNotConfiguredReason says that an ImagePolicy is to look its digest up always, but not how often.
	IntervalNotConfiguredReason = "IntervalNotConfigured"
)

const (
	// InvalidUpdateStrategyReason says that spec.update.strategy is not known.
	InvalidUpdateStrategyReason = "InvalidUpdateStrategy"

	// InvalidSourceConfigReason says that spec.git is missing or does not fit the source.
	InvalidSourceConfigReason = "InvalidSourceConfiguration"

	// SourceManagerFailedReason says that the source, or what is needed to read it, could not be had.
	SourceManagerFailedReason = "SourceManagerFailed"

	// GitOperationFailedReason says that the repository could not be fetched, or the commit not pushed.
	GitOperationFailedReason = "GitOperationFailed"

	// UpdateFailedReason says that the files could not be changed.
	UpdateFailedReason = "UpdateFailed"

	// InvalidPolicySelectorReason says that spec.policySelector is not usable.
	InvalidPolicySelectorReason = "InvalidPolicySelector"

	// RemovedTemplateFieldReason says that the message template uses a field which there is no more.
	RemovedTemplateFieldReason = "RemovedTemplateField"
)
