package helmchart

import (
	"errors"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

var (
	errReference  = errors.New("spec.chart")
	errValues     = errors.New("spec.valuesFiles")
	errDependency = errors.New("dependency")
	errPackage    = errors.New("packaging the chart")
)

// sourceTimeout is what bounds the requests for a chart.
const sourceTimeout = "spec.timeout of the HelmRepository"

// causes maps what the parts report to the reasons of the wire API.
var causes = cause.Table{Other: sourcev1.ChartPullErrorReason, Causes: []cause.Cause{
	cause.Retry(artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason),
	cause.Retry(errDependency, sourcev1.DependencyBuildErrorReason),
	cause.Retry(signature.ErrVerify, sourcev1.ChartVerificationErrorReason),
	cause.Retry(errValues, sourcev1.ValuesFilesErrorReason),
	cause.Stall(registry.ErrName, sourcev1.URLInvalidReason),
	cause.Retry(chartrepo.ErrCredentials, sourcev1.AuthenticationFailedReason),
	cause.Retry(registry.ErrCredentials, sourcev1.AuthenticationFailedReason),
	cause.Retry(chartrepo.ErrURL, sourcev1.URLInvalidReason),
	cause.Stall(chartindex.ErrRange, sourcev1.InvalidChartReferenceReason),
	cause.Retry(chartindex.ErrNoChart, sourcev1.InvalidChartReferenceReason),
	cause.Retry(errReference, sourcev1.InvalidChartReferenceReason),
	cause.Retry(errPackage, sourcev1.ChartPackageErrorReason),
}}
