package gitrepository

import (
	"context"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/source-controller/internal/cause"
)

// distrust are the causes that are about spec.verify.
var distrust = []cause.Cause{
	cause.Retry(errTrust, sourcev1.VerificationError),
	cause.Retry(errCommitSignature, sourcev1.InvalidCommitSignatureReason),
	cause.Retry(errTagSignature, sourcev1.InvalidTagSignatureReason),
	cause.Retry(errNoTag, sourcev1.InvalidGitObjectReason),
}

// causes maps what the engines report to the reasons of the wire API.
var causes = cause.Table{Other: sourcev1.GitOperationFailedReason, Causes: append(distrust, []cause.Cause{
	cause.Retry(errSubmodule, sourcev1.GitOperationFailedReason), // whatever it is: an edit of the spec does not help
	cause.Retry(gitrepo.ErrEmpty, sourcev1.EmptyGitRepositoryReason),
	cause.Stall(gitauth.ErrSpec, sourcev1.InvalidProviderConfigurationReason),
	cause.Retry(gitauth.ErrProvider, sourcev1.InvalidProviderConfigurationReason),
	cause.Stall(gitauth.ErrGate, meta.FeatureGateDisabledReason),
	cause.Retry(gitauth.ErrSecret, sourcev1.AuthenticationFailedReason),
	cause.Retry(gitauth.ErrProxy, sourcev1.AuthenticationFailedReason),
	cause.Retry(gitauth.ErrLogin, sourcev1.AuthenticationFailedReason),
	cause.Stall(gitrepo.ErrURL, sourcev1.URLInvalidReason),
	cause.Retry(gitrepo.ErrAuth, sourcev1.AuthenticationFailedReason),
	cause.Retry(gitrepo.ErrHostKey, sourcev1.AuthenticationFailedReason),
	cause.Retry(errCopy, sourcev1.CopyFailureReason),
	cause.Retry(artifact.ErrIgnore, sourcev1.SourceIgnoreErrorReason),
	cause.Retry(artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason),
	cause.Retry(artifact.ErrTooLarge, sourcev1.ArchiveOperationFailedReason),
	cause.Retry(artifact.ErrArchive, sourcev1.ArchiveOperationFailedReason),
}...)}

// failure says what to tell people about err and when to try again.
func failure(ctx context.Context, repo *sourcev1.GitRepository, err error) error {
	if ctx.Err() == nil { // else it says nothing about signatures
		distrusted(repo, err)
	}
	return causes.Failure(ctx, err)
}
