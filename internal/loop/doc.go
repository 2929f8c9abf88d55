// Package loop is what every controller here does around its own work.
//
// A kind's package implements Worker: straight-line code that makes the world
// match one object and says what is now true, or returns an error made with
// Retry, Wait or Stall. Reconciler does everything else, once for all kinds:
//
//   - it reads the object, and never one older than its own last write;
//   - it claims the finalizer, and releases it after Worker.Finalize;
//   - it leaves suspended objects alone, and stalls objects whose durations
//     cannot be used;
//   - it derives Ready, Reconciling, Stalled, observedGeneration and
//     lastHandledReconcileAt from the outcome, and writes status once, and
//     only if it changed;
//   - it records one event when Ready changed, and none when nothing happened;
//   - it says when to come back.
//
// A panic in a Worker is an outcome like any other failure. All text passes
// secrets.Redact on its way out.
package loop
