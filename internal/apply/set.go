package apply

import (
	"github.com/weirhq/weir/internal/build"
	"k8s.io/apimachinery/pkg/types"
)

// Set is what one owner wants to exist.
type Set struct {
	Owner   types.NamespacedName
	Objects []build.Object
	// Force deletes and recreates objects whose change is refused because a
	// field is immutable, when the replacement would be accepted.
	Force bool
	// Recheck asks the API server about every object, also about those of which
	// the watch says that they are as they were applied.
	Recheck bool
	// KeepOwners refuses to take an object that the labels give to another owner,
	// whatever Options.MayTake says.
	KeepOwners bool
	// ContinueOnError applies all other objects when one is refused, also those
	// of later stages. The error is returned in the end.
	ContinueOnError bool
	// ReportDrift writes no object only because it has drifted: its Change says
	// what differs, each time.
	ReportDrift bool
	// Former says that this very content was applied by a former process, so that
	// what differs from it has drifted. It counts with ReportDrift only.
	Former bool
	// Ignore names fields that are left to others.
	Ignore Ignore
}

// Actions of a Change.
const (
	Created    = "created"
	Configured = "configured"
	Unchanged  = "unchanged"
	Skipped    = "skipped" // not touched: an annotation says so, or a repair is put off in a fight
	Deleted    = "deleted"
	Drifted    = "drifted" // differs from what was applied, and was left so: Set.ReportDrift
)

// Change is what happened to one object.
type Change struct {
	Ref
	Action string
	// Drift is set when the object was written because the cluster's copy had
	// been changed or deleted, not because the Set changed.
	Drift bool
	// Missing is set when a Drifted object does not exist, and Paths are JSON
	// pointers to fields that differ when it does.
	Missing bool
	Paths   []string
	// Manager is the field manager that had changed the object, when Drift is
	// set and the API server knows it.
	Manager string
	// Fight is set when the object has been repaired again and again lately:
	// Manager insists, and repairs are made ever less often until it stops.
	Fight bool
	// From is the owner that the object was taken from, empty otherwise.
	From types.NamespacedName
}

// Result is what an Apply did. It also comes with an error, and then holds what
// was done before.
type Result struct {
	// Changes has one entry for each object of the stages that were reached, in
	// the order of the Set.
	Changes []Change
	// Inventory names all objects of the Set.
	Inventory []Ref
}
