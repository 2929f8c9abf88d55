package gitrepository

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
)

var errTimeout = errors.New("spec.timeout")

// causes maps what the engines report to the reasons of the wire API. The first
// that fits counts.
var causes = []struct {
	is           error
	reason       string
	stall        bool
	verification bool // is about spec.verify
}{
	{errTrust, sourcev1.VerificationError, false, true},
	{errCommitSignature, sourcev1.InvalidCommitSignatureReason, false, true},
	{errTagSignature, sourcev1.InvalidTagSignatureReason, false, true},
	{errNoTag, sourcev1.InvalidGitObjectReason, false, true},
	{errSubmodule, sourcev1.GitOperationFailedReason, false, false}, // whatever it is: an edit of the spec does not help
	{gitrepo.ErrEmpty, sourcev1.EmptyGitRepositoryReason, false, false},
	{gitauth.ErrSpec, sourcev1.InvalidProviderConfigurationReason, true, false},
	{gitauth.ErrProvider, sourcev1.InvalidProviderConfigurationReason, false, false},
	{gitauth.ErrGate, meta.FeatureGateDisabledReason, true, false},
	{gitauth.ErrSecret, sourcev1.AuthenticationFailedReason, false, false},
	{gitauth.ErrProxy, sourcev1.AuthenticationFailedReason, false, false},
	{gitauth.ErrLogin, sourcev1.AuthenticationFailedReason, false, false},
	{gitrepo.ErrURL, sourcev1.URLInvalidReason, true, false},
	{gitrepo.ErrAuth, sourcev1.AuthenticationFailedReason, false, false},
	{gitrepo.ErrHostKey, sourcev1.AuthenticationFailedReason, false, false},
	{errCopy, sourcev1.CopyFailureReason, false, false},
	{artifact.ErrIgnore, sourcev1.SourceIgnoreErrorReason, false, false},
	{artifact.ErrStorage, sourcev1.ArchiveOperationFailedReason, false, false},
	{artifact.ErrTooLarge, sourcev1.ArchiveOperationFailedReason, false, false},
	{artifact.ErrArchive, sourcev1.ArchiveOperationFailedReason, false, false},
}

// failure says what to tell people about err and when to try again.
func failure(ctx context.Context, repo *sourcev1.GitRepository, err error) error {
	if _, ok := errors.AsType[*loop.Failure](err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return loop.Retry(sourcev1.GitOperationFailedReason, fmt.Errorf("not done within spec.timeout of %s: %w", timeout(repo), err))
	}
	distrusted(repo, err)
	for _, c := range causes {
		if !errors.Is(err, c.is) {
			continue
		}
		if c.stall {
			return loop.Stall(c.reason, err)
		}
		return retry(c.reason, err)
	}
	return retry(sourcev1.GitOperationFailedReason, err)
}

// retry tries again when the server that err tells of lets us.
func retry(reason string, err error) error {
	if after := gitrepo.RetryAfter(err); after > 0 {
		return loop.RetryAfter(reason, after, err)
	}
	return loop.Retry(reason, err)
}
