// Package marker changes the YAML scalars that an image policy marker stands
// beside, and not one byte more.
//
// A marker is a line comment that holds a JSON object:
//
//	image: ghcr.io/org/app:1.0.0 # {"$imagepolicy": "flux-system:app"}
//	tag: 1.0.0                   # {"$imagepolicy": "flux-system:app:tag"}
//
// The YAML parser is only asked where the marked scalars stand. The new value
// is then spliced into the original bytes in the quoting style that was there,
// the result is parsed again, and the edit is refused unless the two documents
// differ in exactly the marked scalars. Comments, blank lines, indentation,
// line endings, a byte order mark and everything else stay as they were.
package marker
