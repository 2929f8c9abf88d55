package wish

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		annotations map[string]string
		guard       Guard
		want        Wishes
		says        string
	}{
		"nothing":            {annotations: map[string]string{"example.com/x": "y"}},
		"a guard by default": {guard: Guard{true, 100}, want: Wishes{Guard: Guard{true, 100}}},
		"its own guard":      {annotations: map[string]string{"weir.dev/prune-guard": "50%"}, guard: Guard{true, 100}, want: Wishes{Guard: Guard{true, 50}}},
		"no guard":           {annotations: map[string]string{"weir.dev/prune-guard": "off"}, guard: Guard{true, 100}},
		"approval":           {annotations: map[string]string{"weir.dev/approve": "main@sha1:abc"}, want: Wishes{Approval: true, Approved: "main@sha1:abc"}},
		"approval of what a guard held back": {annotations: map[string]string{"weir.dev/approve": "x", "weir.dev/prune-guard": "empty"},
			want: Wishes{Guard: Guard{true, 100}, Approved: "x"}},
		"adopt": {annotations: map[string]string{"weir.dev/adopt": "never"}, want: Wishes{KeepOwners: true}},
		"go on": {annotations: map[string]string{"weir.dev/continue-on-error": "true"}, want: Wishes{ContinueOnError: true}},
		"objects": {annotations: map[string]string{"weir.dev/depends-on": "Job/a/b"},
			want: Wishes{DependsOn: []Object{{schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, "a", "b"}}}},
		"drift":         {annotations: map[string]string{"weir.dev/drift": "correct"}},
		"drift, report": {annotations: map[string]string{"weir.dev/drift": "report"}, want: Wishes{ReportDrift: true}},
		"last to go":    {annotations: map[string]string{"weir.dev/deletion-order": "dependents-first"}, want: Wishes{DependentsFirst: true}},
		"in any order":  {annotations: map[string]string{"weir.dev/deletion-order": "any"}, want: Wishes{AnyOrder: true}},
		"unknown name":  {annotations: map[string]string{"weir.dev/aprove": "x"}, says: `"weir.dev/aprove" is not known`},
		"unknown value": {annotations: map[string]string{"weir.dev/adopt": "maybe"}, says: `"maybe" is not one of ["always" "never"]`},
		"bad window":    {annotations: map[string]string{"weir.dev/window": "always"}, says: "weir.dev/window"},
		"bad guard":     {annotations: map[string]string{"weir.dev/prune-guard": "half"}, says: "weir.dev/prune-guard"},
		"bad objects":   {annotations: map[string]string{"weir.dev/depends-on": ""}, says: "weir.dev/depends-on"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.annotations, tt.guard)
			if tt.says != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error is %v, want one that says %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(Guard{})); diff != "" {
				t.Errorf("wishes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		guard              string
		inventory, dropped int
		stops              bool
	}{
		{"", 10, 10, false}, {"off", 10, 10, false},
		{"empty", 10, 10, true}, {"empty", 10, 9, false}, {"empty", 0, 0, false}, {"empty", 1, 1, true},
		{"50%", 10, 5, false}, {"50%", 10, 6, true}, {"50%", 1, 1, true}, {"0%", 10, 1, true}, {"0%", 10, 0, false}, {"100%", 10, 10, true},
	} {
		g, err := ParseGuard(tt.guard)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Stops(tt.inventory, tt.dropped); got != tt.stops {
			t.Errorf("guard %q stops %d of %d: %v, want %v", tt.guard, tt.dropped, tt.inventory, got, tt.stops)
		}
	}
	for _, bad := range []string{"50", "-1%", "101%", "x%", "%"} {
		if _, err := ParseGuard(bad); err == nil {
			t.Errorf("guard %q is accepted", bad)
		}
	}
}

func TestWindows(t *testing.T) {
	for name, tt := range map[string]struct {
		windows, now string
		open         bool
		next         string // "" when open
	}{
		"inside":                      {"Mon-Fri 09:00-17:00", "2026-11-23T09:00:00Z", true, ""}, // a Monday
		"the end is outside":          {"Mon-Fri 09:00-17:00", "2026-11-23T17:00:00Z", false, "2026-11-24T09:00:00Z"},
		"over the weekend":            {"Mon-Fri 09:00-17:00", "2026-11-27T18:00:00Z", false, "2026-11-30T09:00:00Z"},
		"another zone":                {"Mon-Fri 09:00-17:00 Europe/Berlin", "2026-11-23T08:00:00Z", true, ""},
		"before, in another zone":     {"Mon-Fri 09:00-17:00 America/New_York", "2026-11-23T09:00:00Z", false, "2026-11-23T14:00:00Z"},
		"over midnight, first day":    {"Sat 22:00-04:00", "2026-11-28T23:00:00Z", true, ""},
		"over midnight, next day":     {"Sat 22:00-04:00", "2026-11-29T03:59:00Z", true, ""},
		"over midnight, day before":   {"Sat 22:00-04:00", "2026-11-28T03:00:00Z", false, "2026-11-28T22:00:00Z"},
		"the whole day":               {"Sun 00:00-24:00", "2026-11-29T23:59:59Z", true, ""},
		"days over the week's end":    {"Sat-Mon 10:00-11:00", "2026-11-29T10:30:00Z", true, ""},
		"listed days":                 {"mon,wed 10:00-11:00", "2026-11-24T10:30:00Z", false, "2026-11-25T10:00:00Z"},
		"the next of several":         {"Mon 10:00-11:00; Tue 10:00-11:00", "2026-11-23T12:00:00Z", false, "2026-11-24T10:00:00Z"},
		"an hour that is left out":    {"Sun 02:30-03:30 Europe/Berlin", "2026-03-29T00:00:00Z", false, "2026-03-29T01:30:00Z"},
		"once a week, just closed":    {"Mon 10:00-11:00", "2026-11-23T11:00:00Z", false, "2026-11-30T10:00:00Z"},
		"after the change of clocks":  {"Mon 09:00-10:00 Europe/Berlin", "2026-10-26T07:59:00Z", false, "2026-10-26T08:00:00Z"},
		"before the change of clocks": {"Mon 09:00-10:00 Europe/Berlin", "2026-10-19T07:00:00Z", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := ParseWindows(tt.windows)
			if err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			open, next := w.Open(now)
			if open != tt.open || !open && next.UTC().Format(time.RFC3339) != tt.next {
				t.Errorf("open = %v, next %s; want %v, %s", open, next.UTC().Format(time.RFC3339), tt.open, tt.next)
			}
		})
	}
	for _, bad := range []string{"", "Mon", "Mon 9", "Mon 09:00", "Mon 09:00-25:00", "Moon 09:00-10:00", "Mon- 09:00-10:00",
		"Mon 09:00-10:00 Mars/Base", "Mon 09:00-10:00 ../../etc/passwd", "Mon 09:00-10:00 Local", "Mon 09:00-10:00;", strings.Repeat("Mon 09:00-10:00;", 30) + "Mon 09:00-10:00"} {
		if _, err := ParseWindows(bad); err == nil {
			t.Errorf("window %q is accepted", bad)
		}
	}
}

func TestApproves(t *testing.T) {
	for _, tt := range []struct {
		approved, revision string
		want               bool
	}{
		{"main@sha1:0123456789", "main@sha1:0123456789", true},
		{"0123456789", "main@sha1:0123456789", true},
		{"0123456", "main@sha1:0123456789", true},
		{"012345", "main@sha1:0123456789", false},
		{"main@sha1:999", "main@sha1:0123456789", false},
		{"", "main@sha1:0123456789", false},
		{"v1", "v1", true}, {"v1.0.0", "v1.0.0-rc1", false},
	} {
		if got := Approves(tt.approved, tt.revision); got != tt.want {
			t.Errorf("%q approves %q: %v, want %v", tt.approved, tt.revision, got, tt.want)
		}
	}
}

func TestParseObjects(t *testing.T) {
	got, err := ParseObjects("HelmRelease/ns/a, apps/v1/Deployment/ns/b,v1/Namespace//c")
	want := []Object{
		{schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}, "ns", "a"},
		{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "ns", "b"},
		{schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", "c"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("objects (-want +got):\n%s%v", diff, err)
	}
	for _, bad := range []string{"", "a", "Widget/ns/a", "Job/ns/", "a/b/c/d/e/f", "Job/n s/a", ",", "//ns/a", strings.Repeat("Job/a/b,", 60) + "Job/a/b"} {
		if _, err := ParseObjects(bad); err == nil {
			t.Errorf("objects %q are accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("window", "Mon-Fri 09:00-17:00 Europe/Berlin")
	f.Add("depends-on", "Job/a/b")
	f.Add("prune-guard", "50%")
	f.Fuzz(func(t *testing.T, name, value string) {
		w, err := Parse(map[string]string{Prefix + name: value}, Guard{})
		if err == nil {
			w.Windows.Open(time.Now()) // must return
		}
	})
}
