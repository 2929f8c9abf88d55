package bucket

import (
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/source-controller/internal/cause"
)

// causes maps what the parts report to the reasons of the wire API.
var causes = cause.Table{Other: sourcev1.BucketOperationFailedReason, Causes: []cause.Cause{
	cause.Stall(errEndpoint, sourcev1.URLInvalidReason),
	cause.Stall(errSTS, sourcev1.InvalidSTSConfigurationReason),
	cause.Stall(errSpec, sourcev1.BucketOperationFailedReason),
	cause.Retry(errAuth, sourcev1.AuthenticationFailedReason),
	cause.Retry(artifact.ErrIgnore, sourcev1.SourceIgnoreErrorReason),
	cause.Retry(artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason),
}}
