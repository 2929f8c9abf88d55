// Package gitrepository publishes Git repositories as artifacts.
//
// A reconciliation asks the server where the reference stands, one small request.
// When that revision is published already and nothing else changed, it is done.
// Otherwise it fetches what the mirror lacks and packs the artifact straight from
// the object store: there is no work tree.
package gitrepository
