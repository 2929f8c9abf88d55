// Package helmrepository publishes the indexes of Helm repositories as artifacts.
//
// A reconciliation asks for the index with one conditional request. When it has
// changed, it is read once: while it is stored as it is, byte for byte, it is also
// parsed, and what HelmCharts need of it is kept in memory.
//
// A HelmRepository of the type oci has no index. It is looked up by HelmCharts and
// otherwise left alone.
package helmrepository
