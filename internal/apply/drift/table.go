package drift

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// Verdict is what an event means for the object it is about.
type Verdict uint8

const (
	// Same: nothing of ours changed.
	Same Verdict = iota
	// Stale: the event is not newer than what our own write returned.
	Stale
	// Parked: our own write is under way; Commit decides.
	Parked
	// Unknown: the object carries our label but was never applied by this table.
	Unknown
	// Drifted: our entry changed, or the object was made anew by someone.
	Drifted
	// Foreign: a manager or leftover that must be stripped is on the object.
	Foreign
	// Verify: metadata cannot tell; one apply of this object can.
	Verify
	// Taken: the object now names another owner, with our fields intact.
	Taken
	// Excused: an annotation on the live object says to leave it alone.
	Excused
	// Going: the object is being deleted but still has finalizers.
	Going
	// Gone: the object, or its owner label, was removed.
	Gone
)

var verdictNames = [...]string{"same", "stale", "parked", "unknown", "drifted", "foreign",
	"verify", "taken", "excused", "going", "gone"}

func (v Verdict) String() string { return verdictNames[v] }

// NeedsWrite reports whether the object has to be applied again.
func (v Verdict) NeedsWrite() bool {
	return v == Drifted || v == Foreign || v == Verify || v == Taken || v == Gone
}

// Blur is how long after our own change a write that left no trace in
// managedFields is looked at. Times there have whole seconds, so an apply under
// our name within the second of our own is invisible; later ones move the time.
// The rest covers the delay of the watch and clocks that differ. Without the
// limit each HPA scaling of an unowned replicas field would cost a request.
const Blur = 3 * time.Second

// Row is what is remembered of one object.
type Row struct {
	Print
	Applied bool   // the payload with sum Sum was applied, and Print is what came of it
	Expires bool   // deletes itself when it is done, as a Job with a time to live
	epoch   uint32 // which full listing saw the object last
	Sum     uint64 // names the payload that was applied last
}

// Table holds the rows of one resource and decides about its events. It is safe
// for concurrent use.
type Table struct {
	Policy Policy

	mu     sync.Mutex
	rows   map[Key]Row
	writes map[Key]*write // objects with a request of ours under way
	epoch  uint32
}

// write collects what the watch says while our own request is under way.
type write struct {
	count int
	last  *metav1.PartialObjectMetadata
	typ   watch.EventType
}

// NewTable returns an empty table.
func NewTable(p Policy) *Table {
	return &Table{Policy: p, rows: map[Key]Row{}, writes: map[Key]*write{}}
}

// Begin announces an apply. From here to Commit, events about the object are
// parked: whether one is our own write or somebody else's can only be told
// once the response has brought the resource version.
func (t *Table) Begin(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writes[k]
	if w == nil {
		w = &write{}
		t.writes[k] = w
	}
	w.count++
}

// Outcome is what an apply made of an object, for Commit.
type Outcome struct {
	Object  *metav1.PartialObjectMetadata // as the API server returned it; nil when the request failed
	Sum     uint64                        // of the payload
	Expires bool
}

// Commit ends an apply. The result is the verdict on the newest event that was
// parked meanwhile, with the object it was about.
func (t *Table) Commit(k Key, o Outcome) (Verdict, *metav1.PartialObjectMetadata) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writes[k]
	if o.Object != nil {
		if pr, ok := t.Policy.Take(o.Object); ok && pr.RV >= t.rows[k].RV {
			t.rows[k] = Row{Print: pr, Applied: true, Expires: o.Expires, epoch: t.epoch, Sum: o.Sum}
		}
	}
	if w.count--; w.count > 0 {
		return Parked, nil
	}
	delete(t.writes, k)
	if w.last == nil {
		return Same, nil
	}
	return t.judge(k, w.typ, w.last), w.last
}

// Confirm marks a row that was only seen as applied with the payload of the sum
// given. It is refused when the row is not the one given any more.
func (t *Table) Confirm(k Key, seen Row, sum uint64, expires bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[k]
	if !ok || row.Print != seen.Print || t.writes[k] != nil {
		return false
	}
	row.Applied, row.Sum, row.Expires = true, sum, expires
	t.rows[k] = row
	return true
}

// Observe judges one event of the watch.
func (t *Table) Observe(typ watch.EventType, m *metav1.PartialObjectMetadata) (Key, Verdict) {
	k := KeyOf(m.Namespace, m.Name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.writes[k]; w != nil {
		w.last, w.typ = m, typ
		if row, ok := t.rows[k]; ok { // seen by the listing that is running
			row.epoch = t.epoch
			t.rows[k] = row
		}
		return k, Parked
	}
	return k, t.judge(k, typ, m)
}

// judge is the decision rule of the package comment.
func (t *Table) judge(k Key, typ watch.EventType, m *metav1.PartialObjectMetadata) Verdict {
	old, known := t.rows[k]
	pr, ordered := t.Policy.Take(m)
	if !known || !old.Applied {
		return t.see(k, typ, pr, m, old.Marks)
	}
	old.epoch = t.epoch
	t.rows[k] = old
	switch {
	case !ordered:
		return Verify
	case pr.RV < old.RV || pr.RV == old.RV && pr.UID == old.UID && typ != watch.Deleted && pr.Marks&Strip == 0:
		return Stale
	case typ == watch.Deleted:
		return Gone
	case m.DeletionTimestamp != nil:
		return Going
	case pr.Marks&Leave != 0:
		old.Marks = pr.Marks
		t.rows[k] = old
		return Excused
	case pr.Owner != old.Owner && pr.Owner != 0 && pr.Own == old.Own:
		old.Owner = pr.Owner
		t.rows[k] = old
		return Taken
	case pr.Marks&Strip != 0:
		return Foreign
	case pr.Own != old.Own || pr.UID != old.UID:
		return Drifted
	case pr.OwnTime != old.OwnTime || old.Marks&Leave != 0:
		old.Marks = pr.Marks
		t.rows[k] = old
		return Verify // applied under our name, or left alone until now
	case pr.All == old.All && (pr.Generation == 0 || pr.Generation != old.Generation) &&
		(typ == watch.Added || time.Since(time.Unix(int64(old.OwnTime), 0)) < Blur):
		return Verify // a write without a trace in managedFields
	}
	old.Print = pr
	t.rows[k] = old
	return Same
}

// see remembers an object that was not applied by us since the start, or is left
// alone, as its marks before said.
func (t *Table) see(k Key, typ watch.EventType, pr Print, m *metav1.PartialObjectMetadata, before Marks) Verdict {
	if typ == watch.Deleted || m.DeletionTimestamp != nil {
		delete(t.rows, k)
		return Unknown
	}
	t.rows[k] = Row{Print: pr, epoch: t.epoch}
	if before&Leave != 0 && pr.Marks&Leave == 0 {
		return Verify
	}
	return Unknown
}

// StartListing begins a full listing; EndListing returns the keys of the
// applied objects it did not contain.
func (t *Table) StartListing() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch++
}

// EndListing ends a full listing.
func (t *Table) EndListing() (missing []Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, row := range t.rows {
		switch {
		case row.epoch == t.epoch || t.writes[k] != nil:
		case !row.Applied:
			delete(t.rows, k)
		default:
			missing = append(missing, k)
		}
	}
	return missing
}

// Forget removes an object that is no longer ours to keep.
func (t *Table) Forget(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, k)
}

// ForgetIf removes the applied rows for which drop is true and returns their keys.
func (t *Table) ForgetIf(drop func(Key, Row) bool) (keys []Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, row := range t.rows {
		if row.Applied && drop(k, row) {
			delete(t.rows, k)
			keys = append(keys, k)
		}
	}
	return keys
}

// Row returns what is remembered of an object.
func (t *Table) Row(k Key) (Row, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, ok := t.rows[k]
	return row, ok
}

// Len returns the number of objects, and how many of them were applied.
func (t *Table) Len() (all, applied int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.rows {
		if row.Applied {
			applied++
		}
	}
	return len(t.rows), applied
}

// Release keeps an object in view, but no longer as applied by us: nothing that
// happens to it is drift.
func (t *Table) Release(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if row, ok := t.rows[k]; ok {
		row.Applied, row.Sum = false, 0
		t.rows[k] = row
	}
}

// Any reports whether ok is true for one of the objects, or a request is under way.
func (t *Table) Any(ok func(Row) bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.rows {
		if ok(row) {
			return true
		}
	}
	return len(t.writes) > 0
}
