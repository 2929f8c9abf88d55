package v1

// A Receiver has the conditions Ready, Reconciling and Stalled, whose types and shared reasons (Succeeded, Failed,
// Progressing, ProgressingWithRetry, InvalidCELExpression) are those of github.com/fluxcd/pkg/apis/meta. Below are the
// reasons of Ready, and of events, of this group.

const (
	// TokenNotFoundReason says that the Secret is not there, or has no "token".
	TokenNotFoundReason = "TokenNotFound"

	// ValidationFailedReason says that the spec names something that is not usable, such as an issuer's URL.
	ValidationFailedReason = "ValidationFailed"

	// InitializedReason is what older controllers wrote where this one writes Succeeded.
	InitializedReason = "Initialized"
)
