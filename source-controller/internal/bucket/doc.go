// Package bucket publishes the content of object storage buckets as artifacts.
//
// A reconciliation lists the bucket. What is listed and not ignored makes an index
// of keys and entity tags, whose digest is the revision. Nothing more happens while
// that is the published one. Otherwise the objects that are new or have another
// tag are downloaded, several at once, into a cache on disk that outlives the
// process, and the archive is made from there. Keys are names in the archive; they
// are never paths on disk.
package bucket
