package ocirepository

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
)

var errTimeout = errors.New("spec.timeout")

// causes maps what the parts report to the reasons of the wire API. The first
// that fits counts.
var causes = []struct {
	is     error
	reason string
	stall  bool
}{
	{registry.ErrName, sourcev1.URLInvalidReason, true},
	{errReference, sourcev1.ReadOperationFailedReason, true},
	{errVerify, sourcev1.VerificationError, false},
	{registry.ErrCredentials, sourcev1.AuthenticationFailedReason, false},
	{errNoVersion, sourcev1.ReadOperationFailedReason, false},
	{errListing, sourcev1.ReadOperationFailedReason, false},
	{artifact.ErrIgnore, sourcev1.SourceIgnoreErrorReason, false},
	{artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason, false},
	{errLayer, sourcev1.OCILayerOperationFailedReason, false},
	{artifact.ErrArchive, sourcev1.OCILayerOperationFailedReason, false},
	{artifact.ErrTooLarge, sourcev1.OCILayerOperationFailedReason, false},
	{artifact.ErrDigest, sourcev1.OCILayerOperationFailedReason, false},
	{registry.ErrTooLarge, sourcev1.OCIPullFailedReason, false},
}

// failure says what to tell people about err and when to try again.
func failure(ctx context.Context, repo *sourcev1.OCIRepository, err error) error {
	if _, ok := errors.AsType[*loop.Failure](err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return loop.Retry(sourcev1.OCIPullFailedReason, fmt.Errorf("not done within spec.timeout of %s: %w", timeout(repo), err))
	}
	reason := sourcev1.OCIPullFailedReason
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
	if busy, ok := errors.AsType[*registry.Busy](err); ok {
		return loop.RetryAfter(reason, max(busy.After, time.Second), err)
	}
	return loop.Retry(reason, err)
}
