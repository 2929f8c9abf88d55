package helmrepository

import (
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
)

// causes maps what the parts report to the reasons of the wire API.
var causes = cause.Table{Other: sourcev1.IndexationFailedReason, Causes: []cause.Cause{
	cause.Retry(chartrepo.ErrCredentials, sourcev1.AuthenticationFailedReason),
	cause.Stall(chartrepo.ErrURL, sourcev1.URLInvalidReason),
	cause.Retry(artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason),
}}
