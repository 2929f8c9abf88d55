// Package helmchart publishes Helm charts as artifacts: from a Helm repository or a
// registry as they are there, from a folder of another source packaged anew.
//
// A reconciliation finds out which version is asked for. When that version is
// published already and nothing else changed, it is done: for an index, without
// any request. What is downloaded is checked against the digest that led to it
// before it is looked into.
package helmchart
