// Package apply turns objects into cluster state with server-side apply, and
// keeps them that way at the cost of what changed.
//
// A Cluster stands for one API server: its watches, what is known of the
// objects that were applied, a REST mapper. An Applier is a Cluster seen with
// the rights of one user. Apply writes a Set in stages (definitions, classes,
// the rest), each stage validated as a whole by a dry run before anything of it
// is written. Prune deletes, Health tells what is ready.
//
// Nothing is polled. One metadata-only watch per resource reports, through
// package drift, when an object is no longer what was applied; the object is
// marked and Options.Notify names its owner. The owner applies the same Set
// again, and only what is marked costs a request. In the same way an object
// that is not ready is read again when its metadata moves, and the owner is
// told when it has become ready or has failed.
//
// The requests this costs, besides one watch per resource and one discovery:
//
//	new or changed object    2 (dry run, apply)
//	unchanged object         0
//	drifted object           1 (2 when a foreign field manager has to go)
//	object of a former run   1 (a dry run; 2 when it differs)
//	Set.Recheck              1 for each object (a no-op apply is not stored)
package apply
