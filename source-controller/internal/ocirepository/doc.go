// Package ocirepository publishes artifacts of container registries as artifacts
// of their own.
//
// A reconciliation resolves the reference to a digest, with one HEAD request for a
// tag. When that digest is published already and nothing else changed, it is
// done. Otherwise everything that follows asks for that digest: what is verified
// is what is read, and what is read is what is published.
package ocirepository
