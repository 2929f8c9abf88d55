package v1

import (
	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
)

// A Kustomization has the conditions Ready, Reconciling, Stalled and Healthy. Their types and reasons are those of
// github.com/fluxcd/pkg/apis/meta and .../acl; they stand here again, each condition followed by the reasons that it can
// have, to say what they mean for a Kustomization.

const (
	// ReadyCondition is True when the newest revision is applied and, where asked for, healthy.
	ReadyCondition = meta.ReadyCondition

	// ReconciliationSucceededReason says that the newest revision is applied.
	ReconciliationSucceededReason = meta.ReconciliationSucceededReason

	// ReconciliationFailedReason says that something could not be applied.
	ReconciliationFailedReason = meta.ReconciliationFailedReason

	// ArtifactFailedReason says that the source is not there, has not published anything, or could not be downloaded.
	ArtifactFailedReason = meta.ArtifactFailedReason

	// BuildFailedReason says that the manifests could not be built.
	BuildFailedReason = meta.BuildFailedReason

	// PruneFailedReason says that an object which is no longer in the source could not be deleted.
	PruneFailedReason = meta.PruneFailedReason

	// DependencyNotReadyReason says that a Kustomization of spec.dependsOn is not ready yet.
	DependencyNotReadyReason = meta.DependencyNotReadyReason

	// AccessDeniedReason says that the source is of another namespace, which the controller was told not to allow.
	AccessDeniedReason = acl.AccessDeniedReason

	// InvalidCELExpressionReason says that an expression of the spec cannot be compiled.
	InvalidCELExpressionReason = meta.InvalidCELExpressionReason

	// FeatureGateDisabledReason says that the spec asks for something that is switched off in the controller.
	FeatureGateDisabledReason = meta.FeatureGateDisabledReason

	// DirectoryCreationFailedReason says that there was no room to work in.
	DirectoryCreationFailedReason = "DirectoryCreationFailed"
)

const (
	// HealthyCondition is True when the objects that are checked are healthy; absent when none is.
	HealthyCondition = meta.HealthyCondition

	// SucceededReason says that all of them are healthy.
	SucceededReason = meta.SucceededReason

	// HealthCheckFailedReason says that one of them has failed, or did not become healthy in time.
	HealthCheckFailedReason = meta.HealthCheckFailedReason

	// HealthCheckCanceledReason says that the wait was given up because there is something newer to apply.
	HealthCheckCanceledReason = meta.HealthCheckCanceledReason
)

const (
	// ReconcilingCondition is True while the Kustomization is on its way to what the spec says.
	ReconcilingCondition = meta.ReconcilingCondition

	// ProgressingReason says that work goes on; the message tells what it is.
	ProgressingReason = meta.ProgressingReason

	// ProgressingWithRetryReason says that an attempt failed and another one follows.
	ProgressingWithRetryReason = meta.ProgressingWithRetryReason
)

// StalledCondition is True when nothing will change until the Kustomization is edited.
const StalledCondition = meta.StalledCondition
