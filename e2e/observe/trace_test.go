package observe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/toolkit"
)

// A commit is one trace, from the push to all being healthy and everybody being
// told, through programs that know nothing of each other.
func TestOneTraceFollowsARevision(t *testing.T) {
	s := begin(t)
	key := "sha1:" + scene.commit
	want := map[string][]string{
		toolkit.ImageAutomation: {"reconcile ImageUpdateAutomation", "fetch", "edit", "commit"},
		toolkit.Source:          {"reconcile GitRepository", "poll", "fetch", "pack"},
		toolkit.Kustomize:       {"reconcile Kustomization", "fetch", "build", "apply", "health"},
		toolkit.Notification:    {"notify"},
	}
	s.eventually("the spans arrive", func() string {
		got := map[string]map[string]bool{}
		for _, sp := range scene.spans.trace(key) {
			if got[sp.service] == nil {
				got[sp.service] = map[string]bool{}
			}
			got[sp.service][sp.Name] = true
		}
		for service, names := range want {
			for _, name := range names {
				if !got[service][name] {
					return fmt.Sprintf("no %s of %s among %v", name, service, got)
				}
			}
		}
		return ""
	})
	spans := map[string]span{} // by id
	for _, sp := range scene.spans.trace(key) {
		if _, twice := spans[string(sp.SpanId)]; twice {
			t.Errorf("two spans have the id of %s", sp.Name)
		}
		spans[string(sp.SpanId)] = sp
	}
	fetched := slices.Collect(maps.Values(spans))
	fetched = slices.DeleteFunc(fetched, func(sp span) bool { return sp.Name != "reconcile GitRepository" })
	if len(fetched) != 1 {
		t.Fatalf("%d runs of the source are in the trace, want the one that fetched the commit", len(fetched))
	}
	for _, sp := range spans {
		parent, here := spans[string(sp.ParentSpanId)]
		switch {
		case sp.Name == "reconcile ImageUpdateAutomation":
			if len(sp.Links) != 1 {
				t.Errorf("the push is linked to %d choices, want one", len(sp.Links))
			} else if linked := scene.spans.trace(scene.image + ":1.1.0@"); len(linked) == 0 || string(linked[0].TraceId) != string(sp.Links[0].TraceId) {
				t.Errorf("the push is linked to something else than the choice of 1.1.0 (%d spans)", len(linked))
			}
		case sp.Name == "reconcile Kustomization" && !here:
			t.Errorf("a run of the kustomize-controller has no parent in the trace")
		case sp.Name == "notify" && !here:
			t.Errorf("a notification has no parent in the trace")
		case sp.Name == "build" && parent.Name != "reconcile Kustomization":
			t.Errorf("a build is part of %q", parent.Name)
		}
		if sp.EndTimeUnixNano < sp.StartTimeUnixNano {
			t.Errorf("%s ended before it began", sp.Name)
		}
	}
	if scene.spans.bad != nil {
		t.Errorf("the collector could not read %v", scene.spans.bad)
	}
}

// What is looked at each second, and stays as it is, leaves no spans.
func TestRestLeavesNoSpans(t *testing.T) {
	s := begin(t)
	runs := func() float64 { return s.count(toolkit.Source, "gotk_reconcile_duration_seconds", "name", "app") }
	spans := func() (n int) {
		for _, sp := range scene.spans.all() {
			if sp.service == toolkit.Source {
				n++
			}
		}
		return n
	}
	s.eventually("spans that are on their way arrive", func() string {
		before, from := spans(), runs()
		s.eventually("the source is polled", func() string {
			if runs() < from+7 { // the exporter sends at least every five seconds
				return fmt.Sprint(runs())
			}
			return ""
		})
		if now := spans(); now != before {
			return fmt.Sprintf("%d more", now-before)
		}
		return ""
	})
}

func TestScansHaveTraces(t *testing.T) {
	s := begin(t)
	s.eventually("a scan arrives", func() string {
		for _, sp := range scene.spans.all() {
			if sp.service == toolkit.ImageAutomation && sp.Name == "scan" {
				return ""
			}
		}
		return "none"
	})
}

func TestSpansShowNoSecret(t *testing.T) {
	s := begin(t)
	s.eventually("spans arrive", func() string {
		if len(scene.spans.all()) < 10 {
			return "too few"
		}
		return ""
	})
	for _, sp := range scene.spans.all() {
		if text := sp.String(); strings.Contains(text, planted) {
			t.Errorf("the planted secret is in %s", text)
		}
	}
}
