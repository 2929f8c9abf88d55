package provider

import (
	"errors"
	"time"
)

// A Failure is an error that says what another attempt would be worth.
type Failure struct {
	Final bool          // no further attempt with the same event can succeed
	After time.Duration // the destination asks to be left alone so long; 0 = it did not say
	Code  int           // the HTTP status of the answer; 0 = there was none
	Err   error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Final marks err as one that no further attempt can cure.
func Final(err error) error { return &Failure{Final: true, Err: err} }

// IsFinal says whether another attempt is pointless.
func IsFinal(err error) bool {
	f, ok := errors.AsType[*Failure](err)
	return ok && f.Final
}

// RetryAfter returns how long the destination asked to be left alone; 0 when
// it did not say.
func RetryAfter(err error) time.Duration {
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		return 0
	}
	return f.After
}

// codeOf returns the HTTP status of the answer that err tells of, or 0.
func codeOf(err error) int {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Code
	}
	return 0
}
