// Package custody is what all kinds of sources do with artifacts that are published:
// it holds their statuses against what is in the store, tells what was changed or
// lost, and removes what nobody names any more.
package custody

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
)

// Source is an object that publishes artifacts.
type Source interface {
	client.Object
	GetArtifact() *meta.Artifact
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
}

// Custodian looks after the artifacts of one kind. Its functions are for the
// reconciliation of the object that they are called with.
type Custodian struct {
	Kind     string
	Store    *artifact.Store
	Recorder *events.Recorder
	Fetch    Fetch // from another replica; nil when there is none
}

// Fetch copies the artifact a of owner from somewhere else into the store.
type Fetch func(ctx context.Context, owner artifact.Object, a *meta.Artifact) error

// foreign are conditions that other implementations of the wire API set while
// something is wrong. Here Ready's reason says so.
var foreign = []string{
	sourcev1.StorageOperationFailedCondition, sourcev1.FetchFailedCondition, sourcev1.IncludeUnavailableCondition,
	sourcev1.BuildFailedCondition, sourcev1.ArtifactOutdatedCondition,
}

// Owner is how the store knows the source.
func (c *Custodian) Owner(src Source) artifact.Object {
	return artifact.Object{Kind: c.Kind, Namespace: src.GetNamespace(), Name: src.GetName()}
}

// Check makes status tell the truth about the artifact before anything else can fail:
// one that cannot be served is not named, neither in a, which is status.artifact, nor
// in url, which is status.url or nil.
func (c *Custodian) Check(src Source, a **meta.Artifact, url *string) {
	conditions := src.GetConditions()
	for _, kind := range foreign {
		apimeta.RemoveStatusCondition(&conditions, kind)
	}
	if *a != nil && !c.present(src, *a) {
		*a = nil
	}
	if *a == nil {
		if url != nil {
			*url = ""
		}
		apimeta.RemoveStatusCondition(&conditions, sourcev1.ArtifactInStorageCondition)
	}
	src.SetConditions(conditions)
}

// present tells whether the artifact can be served, and people if it was changed.
func (c *Custodian) present(src Source, a *meta.Artifact) bool {
	present, damaged := c.Store.Check(a)
	if damaged {
		c.Recorder.Warning(src, sourcev1.ArtifactVerificationFailedReason, fmt.Sprintf("the stored artifact of revision '%s' was changed, and is not served any more", a.Revision), nil)
	}
	return present
}

// Stored says in the conditions that the artifact is in storage, and returns the outcome
// of that.
func Stored(src Source, message string) loop.Done {
	conditions, a := src.GetConditions(), src.GetArtifact()
	apimeta.SetStatusCondition(&conditions, metav1.Condition{
		Type: sourcev1.ArtifactInStorageCondition, Status: metav1.ConditionTrue, ObservedGeneration: src.GetGeneration(),
		Reason: meta.SucceededReason, Message: message,
	})
	src.SetConditions(conditions)
	return loop.Done{Message: message, Metadata: map[string]string{"revision": a.Revision, "digest": a.Digest}}
}

// Collect removes old artifacts, but not the one that the API server's status names
// until the new status is written.
func (c *Custodian) Collect(src Source, before *meta.Artifact) {
	n, err := c.Store.Collect(c.Owner(src), src.GetArtifact(), before)
	switch {
	case err != nil:
		c.Recorder.Warning(src, sourcev1.GarbageCollectionFailedReason, err.Error(), nil)
	case n > 0:
		c.Recorder.Trace(src, sourcev1.GarbageCollectionSucceededReason, fmt.Sprintf("garbage collected %d artifacts", n), nil)
	}
}

// Remove removes all artifacts of the source.
func (c *Custodian) Remove(src Source) error { return c.Store.Remove(c.Owner(src)) }

// Keep is loop.Keeper's for a suspended source. The artifact stays named in status, so
// that people see at which revision they stopped and resuming is no news; but when
// neither this replica nor another has it, Ready and ArtifactInStorage say so. found
// makes the outcome when it has come back.
func (c *Custodian) Keep(ctx context.Context, src Source, found func() loop.Done) (*loop.Done, error) {
	a := src.GetArtifact()
	if a == nil {
		return nil, nil
	}
	conditions := src.GetConditions()
	if c.present(src, a) || c.Fetch != nil && c.Fetch(ctx, c.Owner(src), a) == nil {
		if known := apimeta.FindStatusCondition(conditions, sourcev1.ArtifactInStorageCondition); known == nil || known.Status != metav1.ConditionFalse {
			return nil, nil
		}
		done := found()
		return &done, nil
	}
	lost := fmt.Sprintf("the artifact of revision '%s' was lost, and is not made again while spec.suspend is set: resume the object", a.Revision)
	apimeta.SetStatusCondition(&conditions, metav1.Condition{
		Type: sourcev1.ArtifactInStorageCondition, Status: metav1.ConditionFalse, ObservedGeneration: src.GetGeneration(),
		Reason: sourcev1.NoArtifactReason, Message: lost,
	})
	src.SetConditions(conditions)
	return nil, loop.Stall(sourcev1.NoArtifactReason, errors.New(lost))
}
