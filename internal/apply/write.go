package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// write applies the object if an apply is due, and records the answer. What the
// watch says meanwhile is judged against that answer, so that our own write is
// never mistaken for drift and somebody else's is never missed.
func (a *Applier) write(ctx context.Context, t *task) error {
	if !t.pending {
		return nil
	}
	table := t.resource.table
	table.Begin(t.key)
	m, err := a.put(ctx, t)
	if err == nil {
		t.resource.clean(t.key)
	}
	out := drift.Outcome{Sum: t.sum, Expires: t.payload.expires}
	if err == nil {
		out.Object = m
	}
	if v, late := table.Commit(t.key, out); v.NeedsWrite() {
		t.resource.mark(drift.Event{Key: t.key, Verdict: v, Object: late})
	}
	if err != nil {
		if noKind(err) {
			a.mapper.stale()
			err = fmt.Errorf("%w: %w", ErrNoKind, err)
		}
		return t.fail("apply", err)
	}
	t.going, t.uid = m.DeletionTimestamp != nil, m.UID
	// What is known of its health is from before this write, and the event that
	// would say so may come after somebody asks.
	a.health.moved(t.resource.item(t.key), m)
	a.conclude(t, m)
	return nil
}

// conclude says what the write did.
func (a *Applier) conclude(t *task, m *metav1.PartialObjectMetadata) {
	pr, _ := t.resource.table.Policy.Take(m)
	switch {
	case t.fresh, t.known && t.row.UID != pr.UID:
		t.change.Action = Created
	case t.untouched(m):
		t.change.Action = Unchanged
		return
	case t.known && unchanged(t.row.Print, pr):
		t.change.Action = Unchanged
		if t.dirt != nil && t.dirt.verdict == drift.Foreign { // what is to be stripped stays: not again at once
			a.repaired(t.resource.item(t.key))
		}
		return
	default:
		t.change.Action = Configured
	}
	if t.dirt == nil || t.step != send {
		return
	}
	t.change.Drift, t.change.Manager, t.change.Fight = true, t.dirt.manager, t.dirt.fight
	a.repaired(t.resource.item(t.key))
}

// unchanged reports whether an apply was not stored because it changed nothing:
// the version is the old one, or moved without the time of our entry, which is
// old enough for its whole seconds to tell.
func unchanged(before, after drift.Print) bool {
	return before.UID == after.UID && (before.RV == after.RV ||
		before.Own == after.Own && before.OwnTime == after.OwnTime &&
			time.Since(time.Unix(int64(after.OwnTime), 0)) > drift.Blur)
}

// put applies the object. Managers that may not own anything are removed first
// when they are known; when only the answer shows one, as it does when we take
// over an existing object, there is a second round.
func (a *Applier) put(ctx context.Context, t *task) (*metav1.PartialObjectMetadata, error) {
	policy := &t.resource.table.Policy
	foreign := t.live
	if foreign == nil && t.dirt != nil {
		foreign = t.dirt.live
	}
	for round := range putRounds {
		if foreign != nil {
			if pr, _ := policy.Take(foreign); pr.Marks&drift.Strip == 0 || t.payload.marks&drift.Merge != 0 {
				foreign = nil
			}
		}
		m, err := a.round(ctx, t, foreign)
		switch {
		case apierrors.IsConflict(err) && foreign != nil && round < putRounds-1: // it moved since it was read
			if foreign, err = a.get(ctx, t); err != nil {
				return nil, err
			}
			continue
		case err != nil && t.force && isImmutable(err):
			return a.recreate(ctx, t, err)
		case err != nil:
			return nil, err
		}
		if pr, _ := policy.Take(m); pr.Marks&drift.Strip == 0 || round == putRounds-1 {
			return m, nil // what is still to be stripped then, somebody puts back: a fight, see mark
		}
		foreign = m
	}
	return nil, errors.New("unreachable: the last round returns")
}

// putRounds is how often an object that moves while it is written is tried.
const putRounds = 4

// round is one apply, after the removal of foreign managers if there are any.
func (a *Applier) round(ctx context.Context, t *task, foreign *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
	if foreign == nil {
		return a.patch(ctx, t, t.payload.json, false)
	}
	keep, own, merged := split(&t.resource.table.Policy, foreign)
	after, err := a.setManagers(ctx, t, foreign, append(keep, merged))
	switch {
	case apierrors.IsNotFound(err):
		return a.patch(ctx, t, t.payload.json, false) // deleted meanwhile
	case err != nil:
		return nil, err
	}
	m, err := a.patch(ctx, t, t.payload.json, false)
	if apierrors.IsInvalid(err) && own != nil && (!t.force || !isImmutable(err)) {
		// Removing what the other manager owned is not allowed, as with the
		// selector the API server made for a Job. Give those fields up instead
		// of taking them over; otherwise no later apply would succeed either.
		if _, err := a.setManagers(ctx, t, after, append(keep, *own)); err != nil {
			return nil, err
		}
		return a.patch(ctx, t, t.payload.json, false)
	}
	return m, err
}

// split separates the entries to keep from ours, and merges the fields of the
// managers to strip into ours, so that the next apply removes what it does not want.
func split(p *drift.Policy, m *metav1.PartialObjectMetadata) (keep []metav1.ManagedFieldsEntry, own *metav1.ManagedFieldsEntry, merged metav1.ManagedFieldsEntry) {
	set := fieldpath.NewSet()
	for _, e := range m.ManagedFields {
		mine := p.Ours(&e)
		if !mine && !p.Strip(e) {
			keep = append(keep, e)
			continue
		}
		if mine {
			own = &e
		}
		if merged.Manager == "" || mine {
			merged = e
		}
		var s fieldpath.Set
		if e.FieldsV1 != nil && s.FromJSON(e.FieldsV1.GetRawReader()) == nil {
			set = set.Union(&s)
		}
	}
	raw, _ := set.ToJSON() // a set that was read from JSON can be written as JSON
	merged.Manager, merged.Operation = p.Manager, metav1.ManagedFieldsOperationApply
	merged.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return keep[:len(keep):len(keep)], own, merged
}

// setManagers replaces managedFields and removes what older tools left behind,
// if the object is still the one given.
func (a *Applier) setManagers(ctx context.Context, t *task, m *metav1.PartialObjectMetadata, entries []metav1.ManagedFieldsEntry) (*metav1.PartialObjectMetadata, error) {
	if len(entries) == 1 && entries[0].APIVersion == "" { // nobody owned anything
		entries[0].APIVersion, entries[0].FieldsType = t.ref.GroupVersion().String(), "FieldsV1"
	}
	ops := []map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": m.UID},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": m.ResourceVersion},
		{"op": "add", "path": "/metadata/managedFields", "value": entries},
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for _, k := range legacyAnnotations {
		if _, ok := m.Annotations[k]; ok {
			ops = append(ops, map[string]any{"op": "remove", "path": "/metadata/annotations/" + escape.Replace(k)})
		}
	}
	for _, k := range legacyLabels {
		if _, ok := m.Labels[k]; ok {
			ops = append(ops, map[string]any{"op": "remove", "path": "/metadata/labels/" + escape.Replace(k)})
		}
	}
	body, err := json.Marshal(ops)
	if err != nil {
		return nil, err
	}
	return a.client(a.served(t), t.ref.Namespace).Patch(ctx, t.ref.Name, types.JSONPatchType, body,
		metav1.PatchOptions{FieldManager: a.options.FieldManager})
}

// patch sends one server-side apply, and once more when it was the versions in
// managedFields that were refused and could be moved.
func (a *Applier) patch(ctx context.Context, t *task, body []byte, dryRun bool) (*metav1.PartialObjectMetadata, error) {
	m, err := a.send(ctx, t, body, dryRun)
	if err == nil || !a.options.MigrateVersions || !undeclared(err) {
		return m, err
	}
	if moved, merr := a.migrate(ctx, t); merr != nil || !moved {
		return m, err
	}
	return a.send(ctx, t, body, dryRun)
}

// undeclared reports whether an object has fields that the version of an entry
// in its managedFields does not know. The API server has no reason for that.
func undeclared(err error) bool {
	return strings.Contains(err.Error(), "field not declared in schema")
}

// migrate moves all entries of managedFields to the version that the object is
// applied in; false when there is none to move.
func (a *Applier) migrate(ctx context.Context, t *task) (bool, error) {
	live, err := a.get(ctx, t)
	if err != nil || live == nil {
		return false, err
	}
	entries, moved := make([]metav1.ManagedFieldsEntry, 0, len(live.ManagedFields)), false
	for _, e := range live.ManagedFields {
		if e.APIVersion != t.ref.GroupVersion().String() {
			e.APIVersion, moved = t.ref.GroupVersion().String(), true
		}
		entries = append(entries, e)
	}
	if !moved {
		return false, nil
	}
	_, err = a.setManagers(ctx, t, live, entries)
	return err == nil, err
}

func (a *Applier) send(ctx context.Context, t *task, body []byte, dryRun bool) (*metav1.PartialObjectMetadata, error) {
	force := true
	o := metav1.PatchOptions{FieldManager: a.options.FieldManager, Force: &force}
	if dryRun {
		o.DryRun = []string{metav1.DryRunAll}
	}
	return a.client(a.served(t), t.ref.Namespace).Patch(ctx, t.ref.Name, types.ApplyPatchType, body, o)
}

// served is the resource in the version that the object is written in.
func (a *Applier) served(t *task) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: t.ref.Group, Version: t.ref.Version, Resource: t.resource.mapping.Resource.Resource}
}

// get reads the object's metadata; nil when it does not exist.
func (a *Applier) get(ctx context.Context, t *task) (*metav1.PartialObjectMetadata, error) {
	m, err := a.client(a.served(t), t.ref.Namespace).Get(ctx, t.ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return m, err
}

// recreatable reports whether an object whose change was refused could be
// created instead. refused is the refusal; it is returned, with the reason, if
// it could not: then nothing is deleted. An object that exists is no obstacle,
// the API server looks for it after everything else was accepted.
func (a *Applier) recreatable(ctx context.Context, t *task, refused error) error {
	var u unstructured.Unstructured
	if err := json.Unmarshal(t.payload.complete(), &u.Object); err != nil {
		return t.fail("apply", err)
	}
	_, err := a.full.Resource(a.served(t)).Namespace(t.ref.Namespace).Create(ctx, &u,
		metav1.CreateOptions{FieldManager: a.options.FieldManager, DryRun: []string{metav1.DryRunAll}})
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return t.fail("apply", fmt.Errorf("%w; it was not recreated, because the replacement is refused as well: %s", refused, serverText(t.ref, err)))
}

// recreate deletes the object, waits until it is gone and creates it.
func (a *Applier) recreate(ctx context.Context, t *task, refused error) (*metav1.PartialObjectMetadata, error) {
	if err := a.recreatable(ctx, t, refused); err != nil {
		return nil, errors.Unwrap(err)
	}
	live, err := a.get(ctx, t)
	if err != nil {
		return nil, err
	}
	if live != nil {
		background := metav1.DeletePropagationBackground
		err := a.client(a.served(t), t.ref.Namespace).Delete(ctx, t.ref.Name,
			metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &live.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err := awaitGone(ctx, a.client(a.served(t), t.ref.Namespace), t.ref.Name, live.UID); err != nil {
			return nil, err
		}
	}
	t.fresh = true
	return a.patch(ctx, t, t.payload.complete(), false)
}
