package helmchart

import (
	"context"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// verify checks that the manifest carries the signature that spec.verify asks for.
func (r *Reconciler) verify(ctx context.Context, obj *sourcev1.HelmChart, access registry.Access, digest string) error {
	spec := obj.Spec.Verify
	if spec == nil {
		return nil
	}
	return signature.Demand{
		Trust:  signature.Trust{Provider: spec.Provider, SecretRef: spec.SecretRef, MatchOIDCIdentity: spec.MatchOIDCIdentity},
		Object: obj, Name: digest, Message: "verified signature of version " + digest, Reason: sourcev1.ChartVerificationErrorReason,
	}.Check(ctx, r.o.Live, r.o.Public, signature.Artifact{Registry: r.o.Registry, Access: access, Digest: digest})
}
