package drift

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const manager = "kustomize-controller"

// entries of the object in these tests.
const full, less = `{"f:data":{"f:a":{}}}`, `{"f:data":{}}`

// object makes metadata with our entry, a second old enough not to blur.
func object(rv int, fields string, others ...metav1.ManagedFieldsEntry) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.Name, m.UID, m.ResourceVersion = "x", "00000000-0000-0000-0000-000000000001", fmt.Sprint(rv)
	when := metav1.Unix(1000, 0)
	m.ManagedFields = append(others, metav1.ManagedFieldsEntry{Manager: manager, Operation: "Apply",
		FieldsV1: metav1.NewFieldsV1(fields), Time: &when})
	return m
}

func entry(manager string, op metav1.ManagedFieldsOperationType, subresource string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(`{"f:z":{}}`)}
}

func newTable() *Table {
	return NewTable(Policy{Manager: manager,
		Strip: func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "kubectl" },
		Owner: func(m *metav1.PartialObjectMetadata) uint32 { return uint32(len(m.Labels["owner"])) },
		Marks: func(m *metav1.PartialObjectMetadata) Marks {
			if m.Annotations["leave"] != "" {
				return Leave
			}
			return 0
		}})
}

// TestOrder checks the parking rule: events around an apply, in each order that
// the network can produce.
func TestOrder(t *testing.T) {
	k := KeyOf("", "x")
	for name, c := range map[string]struct {
		before *metav1.PartialObjectMetadata // event before the response
		resp   *metav1.PartialObjectMetadata
		after  *metav1.PartialObjectMetadata // event after the response
		commit Verdict
		late   Verdict
	}{
		"own event first":               {object(20, full), object(20, full), nil, Stale, Same},
		"own event last":                {nil, object(20, full), object(20, full), Same, Stale},
		"older foreign edit seen first": {object(19, less), object(20, full), object(20, full), Stale, Stale},
		"older foreign edit seen last":  {nil, object(20, full), object(19, less), Same, Stale},
		"newer foreign edit seen first": {object(21, less), object(20, full), nil, Drifted, Same},
		"newer foreign edit seen last":  {nil, object(20, full), object(21, less), Same, Drifted},
		"our request failed, edit seen": {object(21, less), nil, nil, Drifted, Same},
	} {
		tb := applied(object(10, full))
		tb.Begin(k)
		if c.before != nil {
			if _, v := tb.Observe(watch.Modified, c.before); v != Parked {
				t.Errorf("%s: %s while writing", name, v)
			}
		}
		if v, _ := tb.Commit(k, Outcome{Object: c.resp, Sum: 1}); v != c.commit {
			t.Errorf("%s: commit says %s, want %s", name, v, c.commit)
		}
		if c.after != nil {
			if _, v := tb.Observe(watch.Modified, c.after); v != c.late {
				t.Errorf("%s: %s, want %s", name, v, c.late)
			}
		}
	}
}

// applied is a table in which one object was applied.
func applied(m *metav1.PartialObjectMetadata) *Table {
	tb := newTable()
	tb.Begin(KeyOf("", "x"))
	tb.Commit(KeyOf("", "x"), Outcome{Object: m, Sum: 1})
	return tb
}

func TestVerdicts(t *testing.T) {
	with := func(m *metav1.PartialObjectMetadata, change func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
		change(m)
		return m
	}
	for name, c := range map[string]struct {
		typ  watch.EventType
		m    *metav1.PartialObjectMetadata
		want Verdict
	}{
		"older":                 {watch.Modified, object(9, less), Stale},
		"the same":              {watch.Added, object(10, full), Stale},
		"our entry shrank":      {watch.Modified, object(11, less), Drifted},
		"kubectl":               {watch.Modified, object(11, full, entry("kubectl", "Update", "")), Foreign},
		"an operator":           {watch.Modified, object(11, full, entry("operator", "Update", "")), Same},
		"deleted":               {watch.Deleted, object(11, full), Gone},
		"no trace, in a list":   {watch.Added, object(11, full), Verify},
		"no trace, long after":  {watch.Modified, object(11, full), Same},
		"another identity":      {watch.Modified, with(object(11, full), func(m *metav1.PartialObjectMetadata) { m.UID = "y" }), Drifted},
		"being deleted":         {watch.Modified, with(object(11, less), func(m *metav1.PartialObjectMetadata) { now := metav1.Now(); m.DeletionTimestamp = &now }), Going},
		"left alone":            {watch.Modified, with(object(11, less), func(m *metav1.PartialObjectMetadata) { m.Annotations = map[string]string{"leave": "1"} }), Excused},
		"another owner":         {watch.Modified, with(object(11, full), func(m *metav1.PartialObjectMetadata) { m.Labels = map[string]string{"owner": "z"} }), Taken},
		"another owner by hand": {watch.Modified, with(object(11, less), func(m *metav1.PartialObjectMetadata) { m.Labels = map[string]string{"owner": "z"} }), Drifted},
		"our name, later":       {watch.Modified, with(object(11, full), func(m *metav1.PartialObjectMetadata) { later := metav1.Unix(2000, 0); m.ManagedFields[0].Time = &later }), Verify},
		"no order":              {watch.Modified, with(object(11, full), func(m *metav1.PartialObjectMetadata) { m.ResourceVersion = "abc" }), Verify},
	} {
		tb := applied(object(10, full))
		if _, got := tb.Observe(c.typ, c.m); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestLeftAloneUntilNow(t *testing.T) {
	tb := applied(object(10, full))
	leave := object(11, less)
	leave.Annotations = map[string]string{"leave": "1"}
	for i, c := range []struct {
		m    *metav1.PartialObjectMetadata
		want Verdict
	}{{leave, Excused}, {object(12, less), Drifted}} {
		if _, got := tb.Observe(watch.Modified, c.m); got != c.want {
			t.Errorf("event %d: %s, want %s", i, got, c.want)
		}
	}
	tb = applied(object(10, full))
	leave = object(11, full)
	leave.Annotations = map[string]string{"leave": "1"}
	tb.Observe(watch.Modified, leave)
	if _, got := tb.Observe(watch.Modified, object(12, full, entry("operator", "Update", ""))); got != Verify {
		t.Errorf("after the annotation went: %s, want %s", got, Verify)
	}
	tb = applied(object(10, full))
	tb.Observe(watch.Modified, leave)
	tb.Release(KeyOf("", "x"))
	for i, want := range []Verdict{Verify, Unknown} {
		if _, got := tb.Observe(watch.Modified, object(12+i, less)); got != want {
			t.Errorf("released, event %d after the annotation went: %s, want %s", i, got, want)
		}
	}
}

func TestListing(t *testing.T) {
	tb := applied(object(10, full))
	seen := object(5, full)
	seen.Name = "seen"
	tb.Observe(watch.Added, seen)
	tb.StartListing()
	if missing := tb.EndListing(); len(missing) != 1 || missing[0] != KeyOf("", "x") {
		t.Errorf("missing %v, want the applied object only", missing)
	}
	if _, ok := tb.Row(KeyOf("", "seen")); ok {
		t.Error("an object that was only seen is kept after a listing without it")
	}
	tb.StartListing()
	tb.Observe(watch.Added, object(10, full))
	if missing := tb.EndListing(); len(missing) != 0 {
		t.Errorf("missing %v after a listing with it", missing)
	}
}

func TestConfirm(t *testing.T) {
	tb := newTable()
	k := KeyOf("", "x")
	tb.Observe(watch.Added, object(10, full))
	row, _ := tb.Row(k)
	tb.Observe(watch.Modified, object(11, less))
	if tb.Confirm(k, row, 7, false) {
		t.Error("confirmed, although it moved meanwhile")
	}
	row, _ = tb.Row(k)
	if !tb.Confirm(k, row, 7, false) {
		t.Error("not confirmed")
	}
	if _, got := tb.Observe(watch.Modified, object(12, full)); got != Drifted {
		t.Errorf("after confirmation: %s, want %s", got, Drifted)
	}
}
