package replica

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watch looks every few seconds whether what statuses name is there. That costs a few
// system calls for each object: a file is hashed again only when it was changed.
type watch struct{ *Copier }

// NeedLeaderElection tells the manager that all replicas look.
func (w *watch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (w *watch) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.o.Every):
			w.look(ctx)
		}
	}
}

// look brings back each object whose artifact is not there.
func (w *watch) look(ctx context.Context) {
	if !w.leads() && w.o.Peers.none() {
		return // it can only wait until it leads
	}
	for name, k := range kinds {
		list := k.list()
		if err := w.o.Client.List(ctx, list); err != nil {
			w.o.Log.Error(err, "looking for lost artifacts failed", "kind", name)
			continue
		}
		for _, obj := range k.items(list) {
			a := obj.GetArtifact()
			if a == nil || w.o.Store.Holds(a) {
				continue
			}
			key := client.ObjectKeyFromObject(obj)
			if !w.leads() {
				w.bells[name].Ring(key)
			} else if obj.GetDeletionTimestamp().IsZero() {
				w.o.Lost(name, key)
			}
		}
	}
}
