package observe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

const monitoring = "../../config/monitoring/"

// count returns the observations of a histogram's series with a label.
func (s stage) count(program, metric, label, value string) (n float64) {
	s.Helper()
	families, err := scene.tools.Metrics(s.Context(), program)
	s.must(err)
	for _, m := range families[metric].GetMetric() {
		if has(m, label, value) {
			n += float64(m.GetHistogram().GetSampleCount())
		}
	}
	return n
}

func has(m *dto.Metric, label, value string) bool {
	return slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == label && l.GetValue() == value })
}

// scrape returns the labels of each metric that any program exports, under the
// names that queries use.
func (s stage) scrape() map[string][]string {
	s.Helper()
	out := map[string][]string{}
	for _, program := range toolkit.All {
		families, err := scene.tools.Metrics(s.Context(), program)
		s.must(err)
		for name, f := range families {
			names := []string{name}
			if f.GetType() == dto.MetricType_HISTOGRAM {
				names = []string{name + "_bucket", name + "_sum", name + "_count"}
			}
			for _, m := range f.Metric {
				for _, n := range names {
					if out[n] == nil {
						out[n] = []string{"le"}
					}
					for _, l := range m.Label {
						out[n] = append(out[n], l.GetName())
						if l.GetName() == "namespace" { // the pod has one of its own
							out[n] = append(out[n], "exported_namespace")
						}
					}
				}
			}
		}
	}
	return out
}

// queries returns the expressions of the rules and the dashboards, by where they
// are.
func queries(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	rules, err := os.ReadFile(monitoring + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range regexp.MustCompile(`(?m)^ +expr: (.*)$`).FindAllStringSubmatch(string(rules), -1) {
		out["rule "+string(rune('A'+i))] = m[1]
	}
	boards, err := filepath.Glob(monitoring + "dashboards/*.json")
	if err != nil || len(boards) < 2 {
		t.Fatalf("dashboards %v: %v", boards, err)
	}
	for _, path := range boards {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
			Templating struct {
				List []struct{ Name, Query string }
			}
		}
		if err := json.Unmarshal(data, &board); err != nil {
			t.Fatal(err)
		}
		for _, p := range board.Panels {
			for i, target := range p.Targets {
				out[filepath.Base(path)+": "+p.Title+" "+string(rune('A'+i))] = target.Expr
			}
		}
		for _, v := range board.Templating.List {
			if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Query); m != nil {
				out[filepath.Base(path)+": variable "+v.Name] = "count by (" + m[2] + ") (" + m[1] + ")"
			}
		}
	}
	if len(out) < 40 {
		t.Fatalf("found %d queries", len(out))
	}
	return out
}

var (
	metric   = regexp.MustCompile(`\b(?:gotk|weir|workqueue|controller_runtime|rest_client|leader_election|process|go)_[a-z0-9_]+\b`)
	selector = regexp.MustCompile(`([a-z0-9_]+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
)

// ofTheScrape are labels that Prometheus adds.
var ofTheScrape = []string{"pod", "instance", "job", "namespace", "container"}

// Every metric and label that a rule or a dashboard names exists in a scrape of
// the running programs.
func TestQueriesNameWhatThereIs(t *testing.T) {
	s := begin(t)
	var scraped map[string][]string
	s.eventually("all metrics are there", func() string {
		scraped = s.scrape()
		for where, q := range queries(t) {
			for _, name := range metric.FindAllString(q, -1) {
				if scraped[name] == nil {
					return where + ": nothing exports " + name
				}
			}
		}
		return ""
	})
	for where, q := range queries(t) {
		for _, m := range selector.FindAllStringSubmatch(q, -1) {
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(scraped[m[1]], l[1]) {
					t.Errorf("%s: %s has no label %s", where, m[1], l[1])
				}
			}
		}
		var known []string
		for _, name := range metric.FindAllString(q, -1) {
			known = append(known, scraped[name]...)
		}
		for _, m := range grouping.FindAllStringSubmatch(q, -1) {
			for _, l := range strings.Split(m[1], ",") {
				if l = strings.TrimSpace(l); !slices.Contains(known, l) && !slices.Contains(ofTheScrape, l) {
					t.Errorf("%s: nothing in it has the label %s", where, l)
				}
			}
		}
	}
}

// What the toolkit exports is in the documentation. The other way round is a
// rule, as some of it needs a cloud.
func TestExportedMetricsAreDocumented(t *testing.T) {
	s := begin(t)
	docs, err := os.ReadFile("../../docs/operations.md")
	s.must(err)
	for _, program := range toolkit.All {
		families, err := scene.tools.Metrics(t.Context(), program)
		s.must(err)
		for name := range families {
			if (strings.HasPrefix(name, "gotk_") || strings.HasPrefix(name, "weir_")) && !strings.Contains(string(docs), "`"+name+"`") {
				t.Errorf("%s of %s is not in docs/operations.md", name, program)
			}
		}
	}
}

// info returns what gotk_resource_info says of a Kustomization.
func (s stage) info(name string) map[string]string {
	families, err := scene.tools.Metrics(s.Context(), toolkit.Kustomize)
	s.must(err)
	for _, m := range families["gotk_resource_info"].GetMetric() {
		if has(m, "name", name) && has(m, "exported_namespace", scene.ns) {
			out := map[string]string{}
			for _, l := range m.Label {
				out[l.GetName()] = l.GetValue()
			}
			return out
		}
	}
	return nil
}

func TestObjectsAreToldOf(t *testing.T) {
	s := begin(t)
	for name, want := range map[string]map[string]string{
		"app":  {"ready": "True", "suspended": "false", "source_name": "app", "revision": "main@sha1:" + scene.commit, "customresource_kind": "Kustomization"},
		"bad":  {"ready": "False", "suspended": "false", "reason": meta.ArtifactFailedReason, "revision": ""},
		"idle": {"ready": "", "suspended": "true"},
	} {
		s.eventually("metrics tell of "+name, func() string {
			got := s.info(name)
			for label, value := range want {
				if got[label] != value {
					return label + " is " + got[label]
				}
			}
			return ""
		})
	}
	// Its series go with the object.
	gone := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "gone", Namespace: scene.ns}}
	keep := &kustomizev1.Kustomization{}
	s.must(s.Get(t.Context(), client.ObjectKey{Namespace: scene.ns, Name: "bad"}, keep))
	gone.Spec = *keep.Spec.DeepCopy()
	s.must(s.Create(t.Context(), gone))
	named := func() string {
		return regexp.MustCompile(`(?m)^.*name="gone".*$`).FindString(s.get(toolkit.Kustomize, "/metrics"))
	}
	s.eventually("it is measured", func() string {
		if s.count(toolkit.Kustomize, "gotk_reconcile_duration_seconds", "name", "gone") == 0 || s.info("gone")["ready"] != "False" {
			return "not yet"
		}
		return ""
	})
	s.must(s.Delete(t.Context(), gone))
	s.eventually("nothing names it any more", named)
}
