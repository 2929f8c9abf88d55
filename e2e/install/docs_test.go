package install

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/toolkit"
)

var (
	ofHelp = regexp.MustCompile(`(?m)^ +(--[A-Za-z-]+)(?: \w+)? +(\S.*)$`)
	byHand = regexp.MustCompile(` \(default (.*)\)$`)
	row    = regexp.MustCompile("(?m)^\\| `(--[A-Za-z-]+)` \\| (?:`(.*?)`)? *\\|")
)

// documented returns the defaults of the flags in a section of
// docs/operations.md.
func documented(t *testing.T, heading string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/operations.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// Every flag of a program is in the documentation with its default, and no other
// is.
func TestFlagsAreDocumented(t *testing.T) {
	shared := documented(t, "Flags of all controllers")
	for _, name := range toolkit.All {
		rows := documented(t, "Flags of the "+name)
		for flag, value := range shared {
			rows[flag] = value
		}
		help, err := exec.CommandContext(t.Context(), filepath.Join("../../bin", name), "--help").CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help: %v (make build builds the programs)", name, err)
		}
		flags := ofHelp.FindAllStringSubmatch(string(help), -1)
		if len(flags) < 30 {
			t.Fatalf("%s has %d flags", name, len(flags))
		}
		for _, m := range flags {
			value := ""
			if d := byHand.FindStringSubmatch(m[2]); d != nil {
				value = strings.Trim(d[1], `"`)
			}
			told, ok := rows[m[1]]
			switch {
			case !ok:
				t.Errorf("docs/operations.md does not have %s of %s", m[1], name)
			case told != value:
				t.Errorf("docs/operations.md says that %s of %s is %q by default, it is %q", m[1], name, told, value)
			}
			delete(rows, m[1])
		}
		for flag := range rows {
			t.Errorf("docs/operations.md has %s for %s, which does not know it", flag, name)
		}
	}
}

var (
	gateRow  = regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z]+)` \\| ([a-z, -]+) \\|(?: (off|\\*\\*on\\*\\*) \\|)?")
	gateList = regexp.MustCompile(`it has (.*); without effect are (.*)\n`)
)

// Every feature gate of a program is in the documentation, and no other is. A
// program that is given a gate it does not have names those it has.
func TestFeatureGatesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Feature gates\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := gateRow.FindAllStringSubmatch(section, -1)
	for _, name := range toolkit.All {
		var works, moot []string
		for _, row := range rows {
			if row[2] != "all" && !slices.Contains(strings.Split(row[2], ", "), strings.TrimSuffix(name, "-controller")) {
				continue
			}
			if row[3] == "" {
				moot = append(moot, row[1])
			} else {
				works = append(works, row[1])
			}
		}
		out, err := exec.CommandContext(t.Context(), filepath.Join("../../bin", name), "--feature-gates=None=true").CombinedOutput()
		m := gateList.FindSubmatch(out)
		if err == nil || m == nil {
			t.Fatalf("%s with an unknown gate: %v: %s", name, err, out)
		}
		for said, told := range map[string][]string{string(m[1]): works, string(m[2]): moot} {
			if told := strings.Join(told, ", "); said != told {
				t.Errorf("docs/operations.md has the gates %s of %s, it has %s", told, name, said)
			}
		}
	}
}

// The kustomizations above config/ that the documentation shows can be built, and
// change something.
func TestOverlaysOfTheDocumentation(t *testing.T) {
	plain, err := yaml.Marshal(render(t, "default"))
	if err != nil {
		t.Fatal(err)
	}
	fences, n := regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```$"), 0
	err = filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range fences.FindAllSubmatch(text, -1) {
			if !bytes.Contains(m[1], []byte("kustomize.config.k8s.io/")) || !bytes.Contains(m[1], []byte("config/")) {
				continue
			}
			n++
			overlay, err := manifests.Overlay(config, m[1])
			if err != nil {
				t.Errorf("%s: %v in\n%s", path, err, m[1])
				continue
			}
			objects, err := overlay.Objects()
			if err != nil {
				return err
			}
			if changed, err := yaml.Marshal(objects); err != nil || bytes.Equal(plain, changed) {
				t.Errorf("%s: this changes nothing (%v):\n%s", path, err, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 6 {
		t.Errorf("the documentation has only %d of them", n)
	}
}

// The shard that the guide shows has pods and Services of its own: neither its
// Deployment nor its Service selects pods of the main controller, nor the other
// way round.
func TestTheShardOfTheGuideIsSeparate(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guides/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?nameSuffix: -shard1.*?)```").FindSubmatch(guide)
	if m == nil {
		t.Fatal("the guide shows no shard")
	}
	shard, err := manifests.Overlay(config, m[1])
	if err != nil {
		t.Fatal(err)
	}
	objects, err := shard.Objects()
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]labels.Set{}
	selectors := map[string]labels.Set{}
	for _, all := range [][]*unstructured.Unstructured{objects, render(t, "default")} {
		for name, d := range deployments(t, all) {
			pods[name] = d.Spec.Template.Labels
			selectors["Deployment "+name] = d.Spec.Selector.MatchLabels
		}
		for _, obj := range all {
			if obj.GetKind() != "Service" {
				continue
			}
			s := &corev1.Service{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, s); err != nil {
				t.Fatal(err)
			}
			selectors["Service "+s.Name] = s.Spec.Selector
		}
	}
	for _, name := range []string{"source-controller", "source-controller-shard1"} {
		for _, kind := range []string{"Deployment ", "Service "} {
			if selectors[kind+name] == nil {
				t.Fatalf("there is no %s%s, only %v", kind, name, selectors)
			}
			for pod, have := range pods {
				if selects := labels.SelectorFromSet(selectors[kind+name]).Matches(have); selects != (pod == name) {
					t.Errorf("%s%s selects pods of %s: %v", kind, name, pod, selects)
				}
			}
		}
	}
	args := deployments(t, objects)["source-controller-shard1"].Spec.Template.Spec.Containers[0].Args
	if args[6] != "--storage-adv-addr=source-controller-shard1.$(RUNTIME_NAMESPACE).svc.cluster.local." || args[len(args)-1] != "--watch-label-selector=sharding.fluxcd.io/key=shard1" {
		t.Errorf("the arguments are %q", args)
	}
}
