// Package telemetry is how the controllers show their own work: how long its
// phases take, what caches save, which revision is where, and what a running
// program holds at the moment.
//
// A kind's worker says where it is with one line, Enter(ctx, Build); the phase
// lasts until the next one, or until the run ends. From that come a histogram
// per kind and phase and, when an endpoint is set, the spans of a trace.
//
// A trace follows a revision, not a request: its id is derived from the
// revision, so that spans of programs that never speak to each other join. A
// run becomes part of it when it is over, because a source learns its revision
// last, and only if it changed a status: polls at rest leave nothing behind.
package telemetry
