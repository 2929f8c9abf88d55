package apply

import (
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
)

// step is what an object needs.
type step uint8

const (
	nothing  step = iota // it is as it was applied: nothing
	skip                 // an annotation says not to touch it
	postpone             // it is being fought over: its repair is not due yet
	look                 // it is only created, never changed: see whether it exists
	check                // it is new or changed: a dry run, then an apply
	send                 // its content is known to be accepted: an apply
	compare              // its drift is reported: a read and a dry run
)

// situation is what is known of an object before anything is asked.
type situation struct {
	wants   drift.Marks // what the desired object asks for
	row     drift.Row
	known   bool // row is there
	sum     uint64
	dirt    *dirt // nil: not marked
	recheck bool  // asked for, or the watch is blind
	report  bool  // drift is reported, not corrected
	former  bool  // a former process has applied this very content
	now     time.Time
}

// decide is pure.
func decide(s situation) step {
	live := drift.Marks(0)
	if s.known {
		live = s.row.Marks
	}
	gone := s.dirt != nil && s.dirt.verdict == drift.Gone
	switch {
	case s.wants&drift.Leave != 0 || live&drift.Leave != 0 && !gone:
		return skip
	case s.known && s.wants&drift.Once != 0 && !gone:
		return skip
	case !s.known && s.wants&drift.Once != 0:
		return look
	case s.report && (!s.row.Applied && s.former || s.row.Applied && s.row.Sum == s.sum && (s.dirt != nil || s.recheck)):
		return compare
	case !s.known || !s.row.Applied || s.row.Sum != s.sum:
		return check
	case s.dirt != nil && !s.recheck && s.now.Before(s.dirt.due):
		return postpone
	case s.dirt != nil || s.recheck:
		return send
	}
	return nothing
}
