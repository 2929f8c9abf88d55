package alert

import (
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

type ref = notificationv1.CrossNamespaceObjectReference

func alertOf(edit func(*notificationv1beta3.AlertSpec)) *notificationv1beta3.Alert {
	a := &notificationv1beta3.Alert{}
	a.Namespace, a.Name = "ns", "alert"
	a.Spec.EventSources = []ref{{Kind: "Kustomization", Name: "*"}}
	edit(&a.Spec)
	return a
}

func eventOf(severity string) *eventv1.Event {
	return &eventv1.Event{
		InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: "ns", Name: "apps"},
		Severity:       severity, Message: "applied revision main",
	}
}

func TestMatch(t *testing.T) {
	type spec = notificationv1beta3.AlertSpec
	tests := map[string]struct {
		edit     func(*spec)
		severity string // "" is info
		noCross  bool
		want     int
		problem  bool
	}{
		"any name":              {edit: func(*spec) {}, want: 1},
		"its name":              {edit: func(s *spec) { s.EventSources[0].Name = "apps" }, want: 1},
		"another name":          {edit: func(s *spec) { s.EventSources[0].Name = "infra" }},
		"another kind":          {edit: func(s *spec) { s.EventSources[0].Kind = "GitRepository" }},
		"another namespace":     {edit: func(s *spec) { s.EventSources[0].Namespace = "other" }},
		"two sources, one time": {edit: func(s *spec) { s.EventSources = append(s.EventSources, s.EventSources[0]) }, want: 1},
		"errors only, info":     {edit: func(s *spec) { s.EventSeverity = "error" }},
		"errors only, error":    {edit: func(s *spec) { s.EventSeverity = "error" }, severity: "error", want: 1},
		"info tells errors":     {edit: func(s *spec) { s.EventSeverity = "info" }, severity: "error", want: 1},
		"traces":                {edit: func(*spec) {}, severity: "trace"},
		"included":              {edit: func(s *spec) { s.InclusionList = []string{"^x", "^applied"} }, want: 1},
		"not included":          {edit: func(s *spec) { s.InclusionList = []string{"^x"} }},
		"excluded":              {edit: func(s *spec) { s.ExclusionList = []string{"main$"} }},
		"exclusion wins":        {edit: func(s *spec) { s.InclusionList, s.ExclusionList = []string{"."}, []string{"."} }},
		"broken exclusion":      {edit: func(s *spec) { s.ExclusionList = []string{"("} }, want: 1, problem: true},
		"broken inclusion":      {edit: func(s *spec) { s.InclusionList = []string{"("} }, problem: true},
		"suspended":             {edit: func(s *spec) { s.Suspend = true }},
		"own, none may cross":   {edit: func(*spec) {}, noCross: true, want: 1},
		"none may cross":        {edit: func(s *spec) { s.EventSources[0].Namespace = "other" }, noCross: true, problem: true},
		"labels and a name": {edit: func(s *spec) {
			s.EventSources[0] = ref{Kind: "Kustomization", Name: "apps", MatchLabels: map[string]string{"a": "b"}}
		}, problem: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := NewIndex(Options{NoCross: tt.noCross})
			if err := x.Put(alertOf(tt.edit)); (err != nil) != tt.problem {
				t.Errorf("problem: %v", err)
			}
			e := eventOf(tt.severity)
			if tt.severity == "" {
				e.Severity = "info"
			}
			if got := x.Match(e); len(got) != tt.want {
				t.Errorf("%d matches, want %d", len(got), tt.want)
			}
		})
	}
}

func TestCrossNamespaceIsRefused(t *testing.T) {
	for _, noCross := range []bool{false, true} {
		a := alertOf(func(s *notificationv1beta3.AlertSpec) { s.EventSources[0].Namespace = "other" })
		x := NewIndex(Options{NoCross: noCross})
		if err := x.Put(a); (err != nil) != noCross {
			t.Errorf("noCross %t: %v", noCross, err)
		}
		e := eventOf("info")
		e.InvolvedObject.Namespace = "other"
		if got := len(x.Match(e)); got != 1 && !noCross || got != 0 && noCross {
			t.Errorf("noCross %t: %d matches", noCross, got)
		}
	}
}

func TestReplaceAndRemove(t *testing.T) {
	x := NewIndex(Options{})
	for _, name := range []string{"infra", "apps"} {
		if err := x.Put(alertOf(func(s *notificationv1beta3.AlertSpec) { s.EventSources[0].Name = name })); err != nil {
			t.Fatal(err)
		}
	}
	got := x.Match(eventOf("info"))
	if len(got) != 1 {
		t.Fatalf("%d matches, want 1", len(got))
	}
	x.Remove(got[0].Alert)
	if len(x.Match(eventOf("info"))) != 0 || len(x.at) != 0 || len(x.rules) != 0 {
		t.Error("something of a removed Alert is left")
	}
}

func TestMetadataPrecedence(t *testing.T) {
	e := eventOf("info")
	e.Metadata = map[string]string{
		"event.toolkit.fluxcd.io/a": "object", "event.toolkit.fluxcd.io/b": "object", "event.toolkit.fluxcd.io/summary": "object",
		"event.toolkit.fluxcd.io/revision":     "object",
		"kustomize.toolkit.fluxcd.io/revision": "controller", "other.io/x": "dropped", "bare": "dropped",
	}
	got, lost := metadata(e, map[string]string{"b": "alert", "c": "alert", "summary": "alert"}, "summary")
	want := map[string]string{"a": "object", "b": "alert", "c": "alert", "summary": "summary", "revision": "controller"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b", "revision", "summary"}, lost); diff != "" {
		t.Error(diff)
	}
}

func TestFold(t *testing.T) {
	for annotation, want := range map[string]struct {
		fold    time.Duration
		problem bool
	}{
		"none": {time.Minute, false}, "5m": {5 * time.Minute, false}, "0": {0, false}, "0s": {0, false}, "24h": {24 * time.Hour, false},
		"": {0, true}, "soon": {0, true}, "-1m": {0, true}, "1ms": {0, true}, "25h": {0, true},
	} {
		a := alertOf(func(*notificationv1beta3.AlertSpec) {})
		if annotation != "none" {
			a.Annotations = map[string]string{FoldAnnotation: annotation}
		}
		x := NewIndex(Options{Fold: time.Minute})
		if err := x.Put(a); (err != nil) != want.problem {
			t.Errorf("%q: %v", annotation, err)
		}
		e := eventOf("info")
		if got := x.Match(e); len(got) != 1 || got[0].Fold != want.fold {
			t.Errorf("%q: folded for %s, want %s", annotation, got[0].Fold, want.fold)
		}
		e.Metadata = map[string]string{"kustomize.toolkit.fluxcd.io/commit_status": "update"}
		if got := x.Match(e); len(got) != 1 || got[0].Fold != 0 {
			t.Errorf("%q: the renewal of a commit's status is folded for %s", annotation, got[0].Fold)
		}
	}
}
