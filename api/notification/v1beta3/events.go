package v1beta3

// An Alert has no status. These are the reasons of the Kubernetes events that tell what is wrong with one.
const (
	// InvalidConfigReason says that a regular expression or another part of the Alert, or its Provider, is not usable.
	InvalidConfigReason = "InvalidConfig"

	// SourceFetchFailedReason says that the object could not be read whose labels were to be compared.
	SourceFetchFailedReason = "SourceFetchFailed"

	// MetadataAppendFailedReason says that a key of spec.eventMetadata was passed over because the event has it already.
	MetadataAppendFailedReason = "MetadataAppendFailed"

	// NotificationDispatchFailedReason says that an event could not be sent.
	NotificationDispatchFailedReason = "NotificationDispatchFailed"
)

// Values of AlertSpec.EventSeverity.
const (
	// EventSeverityInfo sends all events. It is the default.
	EventSeverityInfo = "info"
	// EventSeverityError sends failures only.
	EventSeverityError = "error"
)
