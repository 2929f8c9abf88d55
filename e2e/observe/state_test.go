package observe

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/toolkit"
)

// The state has a section of each part, with numbers in it, and shows neither
// secrets nor contents.
func TestStateShowsThePartsAndNoSecret(t *testing.T) {
	s := begin(t)
	common := []string{"process", "queues", "objects", "events"}
	for program, more := range map[string][]string{
		toolkit.Source:          {"store", "artifacts", "mirrors", "helmIndexes"},
		toolkit.Kustomize:       {"artifacts", "builds", "watches", "clusters"},
		toolkit.Notification:    {"delivery"},
		toolkit.ImageAutomation: {"mirrors"},
	} {
		text := s.get(program, "/debug/state")
		for _, secret := range []string{planted, "edited", scene.git.URL("app"), scene.webhook} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q", program, secret)
			}
		}
		var state map[string]map[string]any
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatalf("%s: %v in %s", program, err, text)
		}
		for _, name := range slices.Concat(common, more) {
			if section := state[name]; len(section) == 0 || section["error"] != nil {
				t.Errorf("%s: section %s is %v", program, name, section)
			}
		}
		if len(text) > 64<<10 {
			t.Errorf("%s: the state has %d bytes", program, len(text))
		}
		if !strings.Contains(s.get(program, "/debug/pprof/"), "goroutine") {
			t.Errorf("%s has no profiles", program)
		}
	}
	var state struct {
		Objects map[string]struct{ All, Ready, Failing, Suspended int }
		Builds  struct{ Builds, Bytes int }
		Watches struct{ Watches []struct{ State string } }
		Queues  map[string]struct{ Scheduled int }
	}
	s.must(json.Unmarshal([]byte(s.get(toolkit.Kustomize, "/debug/state")), &state))
	if k := state.Objects["Kustomization"]; k.All != 3 || k.Ready != 1 || k.Failing != 1 || k.Suspended != 1 {
		t.Errorf("objects are %+v", state.Objects)
	}
	if state.Builds.Builds == 0 || state.Builds.Bytes == 0 || len(state.Watches.Watches) < 2 || state.Watches.Watches[0].State != "live" || state.Queues["kustomization"].Scheduled == 0 {
		t.Errorf("state is %+v", state)
	}
}

// line is what `flux logs` and its like read of a line.
type line struct {
	Time           string `json:"ts"`
	Level          string `json:"level"`
	Message        string `json:"msg"`
	Logger         string `json:"logger"`
	Error          string `json:"error"`
	ReconcilerKind string `json:"reconciler kind"`
	Kind           string `json:"controllerKind"`
	Name           string `json:"name"`
	Namespace      string `json:"namespace"`
	TraceID        string `json:"traceID"`
	Next           string `json:"next"`
	Reason         string `json:"reason"`
}

func (s stage) lines(program string) (all []line) {
	s.Helper()
	f, err := os.Open(scene.tools.Process(program).Log)
	s.must(err)
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			s.Errorf("%s: %v in the line %s", program, err, scan.Text())
		}
		if l.Time == "" || l.Message == "" || !slices.Contains([]string{"info", "error", "debug"}, l.Level) {
			s.Errorf("%s: a key is missing in %s", program, scan.Text())
		}
		if strings.Contains(scan.Text(), planted) {
			s.Errorf("%s: the planted secret is in %s", program, scan.Text())
		}
		all = append(all, l)
	}
	s.must(scan.Err())
	return all
}

func TestLogsAreRead(t *testing.T) {
	s := begin(t)
	for _, program := range toolkit.All {
		for _, l := range s.lines(program) {
			if l.Kind != "" && l.Name == "" && l.Namespace != "" {
				t.Errorf("%s: a line about a %s does not name it: %+v", program, l.Kind, l)
			}
		}
	}
	s.eventually("each finished run is one line", func() string {
		runs := s.count(toolkit.Kustomize, "gotk_reconcile_duration_seconds", "name", "app")
		n, traced := 0, false
		for _, l := range s.lines(toolkit.Kustomize) {
			if l.Kind == "Kustomization" && l.Name == "app" && l.Namespace == scene.ns {
				n++
				traced = traced || len(l.TraceID) == 32
			}
		}
		// A run that lets others pass says nothing; there are others to let pass
		// with each of the two revisions.
		if float64(n) > runs || float64(n) < runs-2 || n == 0 {
			return "other numbers"
		}
		if !traced {
			return "no line names its trace"
		}
		return ""
	})
	failed := false
	for _, l := range s.lines(toolkit.Kustomize) {
		if l.Name == "bad" && l.Kind == "Kustomization" {
			failed = failed || l.Level == "error" && strings.Contains(l.Error, "nowhere")
		}
	}
	if !failed {
		t.Error("no line says why the Kustomization bad fails")
	}
}
