package helmchart

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
)

var (
	errTimeout    = errors.New("timeout of the source")
	errReference  = errors.New("spec.chart")
	errValues     = errors.New("spec.valuesFiles")
	errDependency = errors.New("dependency")
	errPackage    = errors.New("packaging the chart")
	errVerify     = errors.New("verifying the signature")
)

// causes maps what the parts report to the reasons of the wire API. The first
// that fits counts.
var causes = []struct {
	is     error
	reason string
	stall  bool
}{
	{artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason, false},
	{errDependency, sourcev1.DependencyBuildErrorReason, false},
	{errVerify, sourcev1.ChartVerificationErrorReason, false},
	{errValues, sourcev1.ValuesFilesErrorReason, false},
	{registry.ErrName, sourcev1.URLInvalidReason, true},
	{chartrepo.ErrCredentials, sourcev1.AuthenticationFailedReason, false},
	{registry.ErrCredentials, sourcev1.AuthenticationFailedReason, false},
	{chartrepo.ErrURL, sourcev1.URLInvalidReason, false},
	{chartindex.ErrRange, sourcev1.InvalidChartReferenceReason, true},
	{chartindex.ErrNoChart, sourcev1.InvalidChartReferenceReason, false},
	{errReference, sourcev1.InvalidChartReferenceReason, false},
	{errPackage, sourcev1.ChartPackageErrorReason, false},
}

// failure says what to tell people about err and when to try again.
func failure(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*loop.Failure](err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return loop.Retry(sourcev1.ChartPullErrorReason, fmt.Errorf("not done within the timeout of the source: %w", err))
	}
	reason := sourcev1.ChartPullErrorReason
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
	if busy, ok := errors.AsType[*chartrepo.Busy](err); ok {
		return loop.RetryAfter(reason, max(busy.After, time.Second), err)
	}
	return loop.Retry(reason, err)
}
