// Package kustomization keeps a cluster equal to what a Kustomization
// (kustomize.toolkit.fluxcd.io) names: a folder of a source's artifact, built
// and applied, pruned, healthy, and corrected when somebody edits it.
//
// The Reconciler only puts the engines in a row: internal/artifact fetches,
// internal/build builds, internal/apply applies, prunes and watches. Each of
// them does nothing for what has not changed, so a reconciliation that finds
// nothing to do costs no request. No step waits: what has to wait, for
// a dependency or for health, gives the worker back and is brought back by
// an event.
package kustomization
