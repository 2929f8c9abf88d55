package helmrepository

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
)

var errTimeout = errors.New("spec.timeout")

// failure says what to tell people about err and when to try again.
func failure(ctx context.Context, repo *sourcev1.HelmRepository, err error) error {
	if _, ok := errors.AsType[*loop.Failure](err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return loop.Retry(sourcev1.IndexationFailedReason, fmt.Errorf("not done within spec.timeout of %s: %w", repo.GetTimeout(), err))
	}
	busy, isBusy := errors.AsType[*chartrepo.Busy](err)
	switch {
	case isBusy:
		return loop.RetryAfter(sourcev1.IndexationFailedReason, max(busy.After, time.Second), err)
	case errors.Is(err, chartrepo.ErrCredentials):
		return loop.Retry(sourcev1.AuthenticationFailedReason, err)
	case errors.Is(err, chartrepo.ErrURL):
		return loop.Stall(sourcev1.URLInvalidReason, err)
	case errors.Is(err, artifact.ErrStorage):
		return loop.Retry(sourcev1.ArchiveOperationFailedReason, err)
	}
	return loop.Retry(sourcev1.IndexationFailedReason, err)
}
