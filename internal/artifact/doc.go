// Package artifact is both ends of the artifacts that sources publish and
// consumers read: tar.gz files named by their digest.
//
// A Store packs a Source into such a file, keeps it on disk and serves it over
// HTTP. A Fetcher downloads, verifies and unpacks an artifact once per digest and
// hands out a Tree, an immutable snapshot whose index is in memory and whose
// bytes are on disk.
//
// Both treat what they read as hostile: every archive, path, link and size is
// bounded, and no name that comes from outside ever becomes a name on disk
// without being checked.
package artifact
