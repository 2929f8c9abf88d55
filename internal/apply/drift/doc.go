// Package drift notices, from object metadata alone, that an object which was
// created with server-side apply no longer is what its owner applied.
//
// The API server already keeps the answer. For every field manager it stores
// the set of fields that manager wrote last (metadata.managedFields), and it
// takes a field out of that set in the same write that changes or removes the
// field. So "somebody changed something of ours" equals "the entry of our
// manager shrank or vanished", and nobody has to look at the value.
//
// Three small parts:
//
//   - Row: what is remembered of one object, 72 bytes, no pointers.
//   - Table: one map per resource, and the rules that turn an event into a
//     Verdict. It is the only place that decides.
//   - Source: one metadata-only watch per resource. It decodes an event, hands
//     it to the Table and forgets it; there is no informer and no store.
//
// The first rule that matches decides about an event:
//
//  1. our own request is under way            Parked, judged when the answer is in
//  2. the object was never applied by us      Unknown, remembered as it is
//  3. not newer than what is recorded         Stale
//  4. deleted, or missing from a listing      Gone (covers a removed owner label)
//  5. being deleted                           Going, wait for 4
//  6. an annotation says to leave it alone    Excused
//  7. the owner labels name somebody else     Taken
//  8. a manager to strip owns something       Foreign
//  9. our entry differs, or another identity  Drifted
//  10. the time of our entry differs          Verify: applied under our name
//  11. written without a trace near our own   Verify, see Blur
//  12. anything else                          Same
//
// Rows are only ever taken from answers to our own requests (Begin, Commit) or
// from events judged Same, never from an event that is news.
package drift
