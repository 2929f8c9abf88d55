package ocirepository

import (
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// causes maps what the parts report to the reasons of the wire API.
var causes = cause.Table{Other: sourcev1.OCIPullFailedReason, Causes: []cause.Cause{
	cause.Stall(registry.ErrName, sourcev1.URLInvalidReason),
	cause.Stall(errReference, sourcev1.ReadOperationFailedReason),
	cause.Retry(signature.ErrVerify, sourcev1.VerificationError),
	cause.Retry(registry.ErrCredentials, sourcev1.AuthenticationFailedReason),
	cause.Retry(errNoVersion, sourcev1.ReadOperationFailedReason),
	cause.Retry(errListing, sourcev1.ReadOperationFailedReason),
	cause.Retry(artifact.ErrIgnore, sourcev1.SourceIgnoreErrorReason),
	cause.Retry(artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason),
	cause.Retry(errLayer, sourcev1.OCILayerOperationFailedReason),
	cause.Retry(artifact.ErrArchive, sourcev1.OCILayerOperationFailedReason),
	cause.Retry(artifact.ErrTooLarge, sourcev1.OCILayerOperationFailedReason),
	cause.Retry(artifact.ErrDigest, sourcev1.OCILayerOperationFailedReason),
	cause.Retry(registry.ErrTooLarge, sourcev1.OCIPullFailedReason),
}}
