package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/upstream"
)

var errTimeout = errors.New("spec.timeout")

// causes maps what the parts report to the reasons of the wire API. The first
// that fits counts.
var causes = []struct {
	is     error
	reason string
	stall  bool
}{
	{errEndpoint, sourcev1.URLInvalidReason, true},
	{errSTS, sourcev1.InvalidSTSConfigurationReason, true},
	{errSpec, sourcev1.BucketOperationFailedReason, true},
	{errAuth, sourcev1.AuthenticationFailedReason, false},
	{artifact.ErrIgnore, sourcev1.SourceIgnoreErrorReason, false},
	{artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason, false},
}

// failure says what to tell people about err and when to try again.
func failure(ctx context.Context, b *sourcev1.Bucket, err error) error {
	if _, ok := errors.AsType[*loop.Failure](err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return loop.Retry(sourcev1.BucketOperationFailedReason, fmt.Errorf("not done within spec.timeout of %s: %w", timeout(b), err))
	}
	reason := sourcev1.BucketOperationFailedReason
	for _, c := range causes {
		if !errors.Is(err, c.is) {
			continue
		}
		if c.stall {
			return loop.Stall(c.reason, err)
		}
		reason = c.reason
		break
	}
	if busy, ok := errors.AsType[*upstream.Busy](err); ok {
		return loop.RetryAfter(reason, max(busy.After, time.Second), err)
	}
	return loop.Retry(reason, err)
}
