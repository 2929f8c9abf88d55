package kustomization

import (
	"fmt"
	"time"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
)

// inventory reads status.inventory.
func inventory(k *kustomizev1.Kustomization) ([]apply.Ref, error) {
	if k.Status.Inventory == nil {
		return nil, nil
	}
	refs := make([]apply.Ref, 0, len(k.Status.Inventory.Entries))
	for i, e := range k.Status.Inventory.Entries {
		ref, err := apply.ParseID(e.ID, e.Version)
		if err != nil {
			return nil, fmt.Errorf("status.inventory.entries[%d]: %w", i, err)
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// entries is the reverse of inventory.
func entries(refs []apply.Ref) *kustomizev1.ResourceInventory {
	out := &kustomizev1.ResourceInventory{Entries: make([]kustomizev1.ResourceRef, 0, len(refs))}
	for _, ref := range refs {
		out.Entries = append(out.Entries, kustomizev1.ResourceRef{ID: ref.ID(), Version: ref.Version})
	}
	return out
}

// maxInventory bounds the JSON of an inventory, in bytes. An object has 1.5 MiB
// in etcd, for everything.
const maxInventory = 1_400_000

// fits refuses, before anything is applied, what no inventory could be written
// of: what there is and what is built.
func fits(owned []apply.Ref, built *build.Result) error {
	wanted := make([]apply.Ref, len(built.Objects))
	size := 0
	for i, o := range built.Objects {
		wanted[i] = apply.Ref{GroupVersionKind: o.GVK, Namespace: o.Namespace, Name: o.Name}
		size += entrySize(wanted[i])
	}
	for _, ref := range owned {
		size += entrySize(ref)
	}
	if size <= maxInventory { // nearly always; an object in both counts twice
		return nil
	}
	size = 0
	all := union(owned, wanted)
	for _, ref := range all {
		size += entrySize(ref)
	}
	if size <= maxInventory {
		return nil
	}
	return fmt.Errorf("the inventory of %d objects would have %d bytes, the limit is %d: split the source into several Kustomizations", len(all), size, maxInventory)
}

func entrySize(r apply.Ref) int {
	const around = len(`{"id":"","v":""},`)
	return around + len(r.Namespace) + len(r.Name) + len(r.Group) + len(r.Kind) + len(r.Version) + 3
}

// union returns a and those of b that are not in a. An object is the same
// under another version of its API; the version of b is kept then.
func union(a, b []apply.Ref) []apply.Ref {
	at := make(map[string]int, len(a))
	out := make([]apply.Ref, 0, len(a)+len(b))
	for _, list := range [][]apply.Ref{a, b} {
		for _, ref := range list {
			if i, ok := at[ref.ID()]; ok {
				out[i] = ref
				continue
			}
			at[ref.ID()] = len(out)
			out = append(out, ref)
		}
	}
	return out
}

// difference returns those of a that are not in b.
func difference(a, b []apply.Ref) []apply.Ref {
	in := make(map[string]bool, len(b))
	for _, ref := range b {
		in[ref.ID()] = true
	}
	var out []apply.Ref
	for _, ref := range a {
		if !in[ref.ID()] {
			out = append(out, ref)
		}
	}
	return out
}

// remember notes an outcome in status.history, unless the latest entry says
// the same: a reconciliation that found nothing to do is no history.
func remember(k *kustomizev1.Kustomization, s *source, digest, outcome string, start time.Time) {
	metadata := map[string]string{"revision": s.artifact.Revision}
	if origin := s.origin(); origin != "" {
		metadata["originRevision"] = origin
	}
	if last := k.Status.History.Latest(); last != nil && last.Digest == digest &&
		last.LastReconciledStatus == outcome && last.Metadata["revision"] == s.artifact.Revision {
		return
	}
	now := time.Now()
	k.Status.History.Upsert(digest, now, now.Sub(start).Round(time.Millisecond), outcome, metadata)
}
