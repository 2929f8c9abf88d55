// Package replica keeps in this replica's store what the statuses of sources name.
//
// Replicas share nothing. The one that leads makes artifacts; the others copy them
// over HTTP as soon as a status names them, check them against the digest in it, and
// serve them too. Who takes over therefore has them, and a request that comes before
// the copy is passed on. Every few seconds each replica looks whether its files are
// what statuses say: a leader makes again what is not, the others copy it again.
package replica
