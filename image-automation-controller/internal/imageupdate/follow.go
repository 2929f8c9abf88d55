package imageupdate

import (
	"maps"
	"slices"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/telemetry"
)

// Follow implements loop.Follower: the trace of a push is that of its commit,
// which the controllers that apply it go on with. The choices that led to it are
// linked.
func (r *Reconciler) Follow(auto *imagev1.ImageUpdateAutomation) telemetry.Revision {
	if auto.Status.LastPushCommit == "" {
		return telemetry.Revision{}
	}
	commit := gitrepo.Revision{Hash: auto.Status.LastPushCommit}
	followed := telemetry.Revision{Name: commit.String()}
	for _, name := range slices.Sorted(maps.Keys(auto.Status.ObservedPolicies)) {
		choice := auto.Status.ObservedPolicies[name]
		followed.Causes = append(followed.Causes, telemetry.Cause{
			Object:   telemetry.Object{Kind: imagev1.ImagePolicyKind, Namespace: auto.Namespace, Name: name},
			Revision: choice.String(),
		})
	}
	return followed
}
