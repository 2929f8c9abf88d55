package v1

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
)

// ResourceInventory lists applied objects.
type ResourceInventory struct {
	// Entries are the objects.
	// +required
	Entries []ResourceRef `json:"entries"`
}

// ResourceRef names an applied object.
type ResourceRef struct {
	// ID is "<namespace>_<name>_<group>_<kind>"; the namespace is empty for cluster-wide objects, the group for the core
	// group, and a colon in the name is written as two underscores.
	// +required
	ID string `json:"id"`

	// Version is the API version, without the group.
	// +required
	Version string `json:"v"`
}

// HistoryMaxSize is the number of snapshots that a History keeps.
const HistoryMaxSize = 5

// History holds the outcomes of reconciliations, newest first.
type History []Snapshot

// Snapshot counts the reconciliations that built the same objects and ended the same way.
type Snapshot struct {
	// Digest is the checksum of the built objects, as "<algorithm>:<hex>".
	// +required
	Digest string `json:"digest"`

	// FirstReconciled is when this outcome was first seen.
	// +required
	FirstReconciled metav1.Time `json:"firstReconciled"`

	// LastReconciled is when this outcome was last seen.
	// +required
	LastReconciled metav1.Time `json:"lastReconciled"`

	// LastReconciledDuration is the time that the last of these reconciliations took.
	// +required
	LastReconciledDuration duration.Duration `json:"lastReconciledDuration"`

	// LastReconciledStatus is the reason of the Ready condition that the reconciliation ended with.
	// +required
	LastReconciledStatus string `json:"lastReconciledStatus"`

	// TotalReconciliations is how often this outcome was seen.
	// +required
	TotalReconciliations int64 `json:"totalReconciliations"`

	// Metadata holds more about the last of these reconciliations, such as its revision.
	// +optional
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Latest returns the newest snapshot, nil when there is none.
func (h History) Latest() *Snapshot {
	if len(h) == 0 {
		return nil
	}
	return &h[0]
}

// Upsert notes an outcome: it counts up the snapshot with the same digest and status, or adds one, and makes it the
// first. The oldest beyond HistoryMaxSize are dropped.
func (h *History) Upsert(digest string, at time.Time, took time.Duration, status string, metadata map[string]string) {
	now := metav1.NewTime(at)
	snapshot := Snapshot{Digest: digest, LastReconciledStatus: status, FirstReconciled: now}
	same := func(s Snapshot) bool { return s.Digest == digest && s.LastReconciledStatus == status }
	if i := slices.IndexFunc(*h, same); i >= 0 {
		snapshot = (*h)[i]
		*h = slices.Delete(*h, i, i+1)
	}
	snapshot.LastReconciled = now
	snapshot.LastReconciledDuration = duration.New(took)
	snapshot.TotalReconciliations++
	snapshot.Metadata = metadata
	*h = slices.Insert(*h, 0, snapshot)
	*h = (*h)[:min(len(*h), HistoryMaxSize)]
}
