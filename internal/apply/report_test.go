package apply

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
)

// TestReportDrift: what was changed by hand is told, and left as it is.
func TestReportDrift(t *testing.T) {
	l := newLab(t)
	o, other := l.configMap("reported", "ours"), l.configMap("untouched", "ours")
	s := l.set(o, other)
	s.ReportDrift = true
	l.want(s, "created 2", 4)

	l.patch(o, "somebody", `{"data":{"a":"theirs"},"metadata":{"annotations":{"team":null}}}`)
	l.noticed()
	compared := func(s Set, want Change, requests int) {
		t.Helper()
		l.meter.take()
		res, err := l.try(s)
		must(t, err)
		if n, log := l.meter.take(); n != requests {
			t.Errorf("%d requests, want %d: %q", n, requests, log)
		}
		got := res.Changes[0]
		got.Ref = Ref{}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("change (-want +got):\n%s", d)
		}
	}
	found := Change{Action: Drifted, Drift: true, Manager: "somebody", Paths: []string{"/data/a", "/metadata/annotations"}}
	compared(s, found, 2)
	compared(s, found, 0) // it has not moved since
	if got := l.live(o).Object["data"].(map[string]any)["a"]; got != "theirs" {
		t.Errorf("data.a = %q: a report must not write", got)
	}

	// A new process that knows that the content was applied reports the same.
	l = l.again()
	s.Former = true
	compared(s, found, 4) // two for each object: nothing is known of them
	compared(s, found, 0)

	// An edit with kubectl adds what a correction would take away.
	l.patch(o, "kubectl-edit", `{"data":{"c":"more"}}`)
	l.caughtUp(o)
	r, k, _ := l.row(o)
	until(t, "the edit being seen", func() bool { d := r.dirty(k); return d != nil && d.found == nil })
	found.Manager, found.Paths = "kubectl-edit", []string{"/data/a", "/data/c", "/metadata/annotations"}
	compared(s, found, 2)

	// So is a deletion; nothing comes back.
	l.delete(o)
	until(t, "the deletion being seen", func() bool { d := r.dirty(k); return d != nil && d.found == nil })
	compared(s, Change{Action: Drifted, Drift: true, Missing: true}, 1)

	// Correcting takes over where reporting ends.
	s.ReportDrift = false
	res, err := l.try(s)
	must(t, err)
	if got := summary(res.Changes); got != "created 1, unchanged 1" {
		t.Errorf("correcting did %q", got)
	}
}

// TestReportedContent: new content is applied, whatever had drifted.
func TestReportedContent(t *testing.T) {
	l := newLab(t)
	s := l.set(l.configMap("a", "one"))
	s.ReportDrift = true
	l.want(s, "created 1", 2)
	l.patch(s.Objects[0], "somebody", `{"data":{"a":"theirs"}}`)
	l.noticed()
	s.Objects = slices.Clone(s.Objects)
	s.Objects[0] = l.configMap("a", "two")
	l.want(s, "configured 1", 2)
	if got := l.live(s.Objects[0]).Object["data"].(map[string]any)["a"]; got != "two" {
		t.Errorf("data.a = %q", got)
	}
}

// between does something once, after the first answer to a read of an object.
type between struct {
	next http.RoundTripper
	name string
	do   func()
}

func (b *between) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if do := b.do; do != nil && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+b.name) {
		b.do = nil
		do()
	}
	return resp, err
}

// TestReportMoving: what others write while an object is compared is no drift.
func TestReportMoving(t *testing.T) {
	b := &between{name: "moving"}
	l := newLab(t, func(cfg *rest.Config, _ *Options) {
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { b.next = next; return b })
	})
	o := l.configMap("moving", "ours")
	s := l.set(o)
	s.ReportDrift = true
	l.want(s, "created 1", 2)
	l.patch(o, "somebody", `{"data":{"a":"theirs"}}`)
	l.noticed()
	b.do = func() { l.patch(o, "another", `{"metadata":{"annotations":{"moved":"meanwhile"}}}`) }
	res, err := l.try(s)
	must(t, err)
	if got := strings.Join(res.Changes[0].Paths, " "); got != "/data/a" || b.do != nil {
		t.Errorf("paths are %q, want what had been changed before only", got)
	}
}

func TestImmutableFields(t *testing.T) {
	invalid := func(fields ...*field.Error) error {
		return &ObjectError{Err: apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "s", fields)}
	}
	at := field.NewPath("spec")
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"immutable":         {invalid(field.Invalid(at.Child("clusterIPs").Index(0), "None", "may not change once set"), field.Invalid(at.Child("selector"), "x", "field is immutable")), "/spec/clusterIPs /spec/selector"},
		"something as well": {invalid(field.Invalid(at.Child("selector"), "x", "field is immutable"), field.Invalid(at.Child("ports"), 0, "must be positive")), ""},
		"not at all":        {invalid(field.Required(at.Child("ports"), "")), ""},
		"forbidden":         {apierrors.NewForbidden(schema.GroupResource{}, "s", errors.New("field is immutable")), ""},
	} {
		if got := strings.Join(immutableFields(tt.err), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestDifferences(t *testing.T) {
	entries := func(field string) []any {
		return []any{map[string]any{"fieldsV1": map[string]any{"f:" + field: map[string]any{}}}}
	}
	live := map[string]any{"spec": map[string]any{"replicas": int64(3), "list": []any{"a", map[string]any{"image": "x"}}, "short": []any{"a"},
		"a/b": map[string]any{"~": true}}, "metadata": map[string]any{"resourceVersion": "1", "generation": int64(1), "managedFields": entries("a"), "labels": map[string]any{"x": "y"}}}
	wanted := map[string]any{"spec": map[string]any{"replicas": int64(2), "list": []any{"a", map[string]any{"image": "y"}}, "short": []any{"a", "b"},
		"a/b": map[string]any{"~": false}}, "metadata": map[string]any{"resourceVersion": "2", "generation": int64(2), "managedFields": entries("b")}}
	want := "/metadata/labels /spec/a~1b/~0 /spec/list/1/image /spec/replicas /spec/short"
	if got := strings.Join(differences(live, wanted), " "); got != want {
		t.Errorf("differences = %s, want %s", got, want)
	}
}
