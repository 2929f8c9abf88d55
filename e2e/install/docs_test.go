package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

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
