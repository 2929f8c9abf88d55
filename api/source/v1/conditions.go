package v1

// Every kind of this group has the conditions Ready, Reconciling and Stalled, whose types and shared reasons
// (Succeeded, Failed, Progressing, ProgressingWithRetry, InvalidPath, FeatureGateDisabled) are those of
// github.com/fluxcd/pkg/apis/meta. Below are the conditions and reasons of this group: a condition, then the reasons
// that it, and Ready with it, can have.

const (
	// ArtifactInStorageCondition is True while the artifact of the newest revision is stored and served.
	ArtifactInStorageCondition = "ArtifactInStorage"

	// ArtifactUpToDateReason says that what is stored is what the source has.
	ArtifactUpToDateReason = "ArtifactUpToDate"

	// NewArtifactReason is the reason of the event that tells of a new artifact.
	NewArtifactReason = "NewArtifact"

	// ArtifactVerificationFailedReason is the reason of the event that tells that a stored artifact was damaged and has
	// been removed.
	ArtifactVerificationFailedReason = "ArtifactVerificationFailed"

	// GarbageCollectionSucceededReason is the reason of the event that tells which old artifacts were removed.
	GarbageCollectionSucceededReason = "GarbageCollectionSucceeded"

	// GarbageCollectionFailedReason is the reason of the event that tells that old artifacts could not be removed.
	GarbageCollectionFailedReason = "GarbageCollectionFailed"

	// MigrationReason is the reason of the event that tells that a finalizer was removed which is not needed any more.
	MigrationReason = "Migration"
)

const (
	// ArtifactOutdatedCondition is True while the source has something newer than the artifact.
	ArtifactOutdatedCondition = "ArtifactOutdated"

	// NewRevisionReason says that the source has a new revision.
	NewRevisionReason = "NewRevision"

	// IncludeChangeReason says that what a GitRepository includes has changed.
	IncludeChangeReason = "IncludeChange"

	// NewChartReason says that there is a new version of the chart.
	NewChartReason = "NewChart"
)

const (
	// SourceVerifiedCondition is True while the artifact's revision carries a trusted signature; absent when none is
	// asked for.
	SourceVerifiedCondition = "SourceVerified"

	// VerificationError says that the verification failed, or could not be made.
	VerificationError = "VerificationError"

	// InvalidCommitSignatureReason says that the commit is not signed by a trusted key.
	InvalidCommitSignatureReason = "InvalidCommitSignature"

	// InvalidTagSignatureReason says that the tag is not signed by a trusted key.
	InvalidTagSignatureReason = "InvalidTagSignature"

	// InvalidGitObjectReason says that there is no tag to verify: spec.ref selects something else, or a lightweight tag.
	InvalidGitObjectReason = "InvalidGitObject"

	// InvalidVerificationModeReason says that spec.verify.mode is not known.
	InvalidVerificationModeReason = "InvalidVerificationMode"

	// ChartVerificationErrorReason says that the chart does not carry a trusted signature.
	ChartVerificationErrorReason = "ChartVerificationError"
)

const (
	// FetchFailedCondition is True after the source could not be fetched.
	FetchFailedCondition = "FetchFailed"

	// URLInvalidReason says that the address of the source is not usable.
	URLInvalidReason = "URLInvalid"

	// AuthenticationFailedReason says that the credentials are missing, not usable or refused.
	AuthenticationFailedReason = "AuthenticationFailed"

	// InvalidProviderConfigurationReason says that the provider and the credentials do not go together.
	InvalidProviderConfigurationReason = "InvalidProviderConfiguration"

	// InvalidSTSConfigurationReason says that a Bucket's token service is not set up in a usable way.
	InvalidSTSConfigurationReason = "InvalidSTSConfiguration"

	// GitOperationSucceedReason says that the Git repository was reached and has nothing new.
	GitOperationSucceedReason = "GitOperationSucceeded"

	// GitOperationFailedReason says that the Git repository could not be reached or read.
	GitOperationFailedReason = "GitOperationFailed"

	// EmptyGitRepositoryReason says that the Git repository has no commit yet.
	EmptyGitRepositoryReason = "EmptyGitRepository"

	// BucketOperationSucceededReason says that the bucket was reached and has nothing new.
	BucketOperationSucceededReason = "BucketOperationSucceeded"

	// BucketOperationFailedReason says that the bucket could not be reached or read.
	BucketOperationFailedReason = "BucketOperationFailed"

	// OCIPullFailedReason says that the artifact could not be found or pulled.
	OCIPullFailedReason = "OCIArtifactPullFailed"

	// OCILayerOperationFailedReason says that the layer could not be found or unpacked.
	OCILayerOperationFailedReason = "OCIArtifactLayerOperationFailed"

	// IndexationFailedReason says that the index of a Helm repository could not be fetched or read.
	IndexationFailedReason = "IndexationFailed"

	// NoSourceArtifactReason says that a chart's source has not published anything yet.
	NoSourceArtifactReason = "NoSourceArtifact"

	// SourceUnavailableReason says that a chart's source is not there or could not be read.
	SourceUnavailableReason = "SourceUnavailable"

	// UnsupportedSourceKindReason says that charts cannot come from the kind of source that is named.
	UnsupportedSourceKindReason = "UnsupportedSourceKind"
)

const (
	// IncludeUnavailableCondition is True while something that a GitRepository includes is not to be had.
	IncludeUnavailableCondition = "IncludeUnavailable"

	// NotFoundReason says that an included GitRepository is not there.
	NotFoundReason = "NotFound"

	// NoArtifactReason says that an included GitRepository has not published anything yet.
	NoArtifactReason = "NoArtifact"

	// CopyFailureReason says that included content could not be copied.
	CopyFailureReason = "CopyFailure"

	// IllegalPathReason says that a path of spec.include leads out of the artifact.
	IllegalPathReason = "IllegalPath"
)

const (
	// BuildFailedCondition is True after a chart could not be pulled or packaged.
	BuildFailedCondition = "BuildFailed"

	// ChartPullSucceededReason says that the chart was pulled from its repository.
	ChartPullSucceededReason = "ChartPullSucceeded"

	// ChartPackageSucceededReason says that the chart was packaged from its source.
	ChartPackageSucceededReason = "ChartPackageSucceeded"

	// ResolvedDependenciesReason says that the chart was packaged with its dependencies.
	ResolvedDependenciesReason = "ResolvedDependencies"

	// InvalidChartReferenceReason says that the name or version of the chart is not usable, or leads to nothing.
	InvalidChartReferenceReason = "InvalidChartReference"

	// ChartPullErrorReason says that the chart could not be pulled.
	ChartPullErrorReason = "ChartPullError"

	// ChartMetadataPatchErrorReason says that the version could not be written into the chart.
	ChartMetadataPatchErrorReason = "MetadataPatchError"

	// ValuesFilesErrorReason says that a values file is missing or could not be merged.
	ValuesFilesErrorReason = "ValuesFilesError"

	// DependencyBuildErrorReason says that a dependency of the chart could not be had.
	DependencyBuildErrorReason = "DependencyBuildError"

	// ChartPackageErrorReason says that the chart could not be packaged.
	ChartPackageErrorReason = "ChartPackageError"

	// UnknownReason says that a chart's build failed in a way that has no reason of its own.
	UnknownReason = "Unknown"
)

const (
	// StorageOperationFailedCondition is True after the artifact could not be stored.
	StorageOperationFailedCondition = "StorageOperationFailed"

	// DirCreationFailedReason says that a directory could not be made.
	DirCreationFailedReason = "DirectoryCreationFailed"

	// StatOperationFailedReason says that a file or directory could not be examined.
	StatOperationFailedReason = "StatOperationFailed"

	// ReadOperationFailedReason says that a file could not be read.
	ReadOperationFailedReason = "ReadOperationFailed"

	// AcquireLockFailedReason says that something else was working on the artifact.
	AcquireLockFailedReason = "AcquireLockFailed"

	// InvalidPathReason says that a path is not usable, or not there.
	InvalidPathReason = "InvalidPath"

	// SourceIgnoreErrorReason says that a .sourceignore file could not be read.
	SourceIgnoreErrorReason = "SourceIgnoreError"

	// ArchiveOperationFailedReason says that the archive could not be written.
	ArchiveOperationFailedReason = "ArchiveOperationFailed"

	// SymlinkUpdateFailedReason says that the stable address could not be pointed to the new artifact.
	SymlinkUpdateFailedReason = "SymlinkUpdateFailed"

	// PatchOperationFailedReason says that the object could not be written to the API server.
	PatchOperationFailedReason = "PatchOperationFailed"

	// CacheOperationFailedReason says that an index could not be kept in memory.
	CacheOperationFailedReason = "CacheOperationFailed"
)
