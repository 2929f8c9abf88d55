package helmchart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	loader "helm.sh/helm/v4/pkg/chart/v2/loader"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
)

func TestFromIndex(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.offer("app@1.0.0", "app@1.1.0", "app@2.0.0-rc.1")
	g.create("app", "HelmRepository", "web", "app", nil)
	obj := g.Ready("app")
	a := obj.Status.Artifact
	folder := "helmchart/" + g.NS + "/app/"
	if a.Revision != "1.1.0" || a.Path != folder+"app-1.1.0.tgz" || obj.Status.URL != "http://source-controller.test/"+folder+"latest.tar.gz" {
		t.Errorf("got %+v and %q", a, obj.Status.URL)
	}
	if data := g.Served(folder + "latest.tar.gz"); !bytes.Equal(data, g.archives["app-1.1.0.tgz"]) || !bytes.Equal(data, g.Served(a.Path)) {
		t.Error("something else is served than the repository has")
	}
	c := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReadyCondition)
	if c.Reason != "ChartPullSucceeded" || c.Message != "pulled 'app' chart with version '1.1.0'" {
		t.Errorf("Ready is %+v", c)
	}
	if told := g.Told(); len(told) != 1 || !strings.HasPrefix(told[0], "Normal ChartPullSucceeded pulled 'app' chart with version '1.1.0'") {
		t.Errorf("got the events %q", told)
	}
	g.requests()
	if again := g.Ready("app"); again.ResourceVersion != obj.ResourceVersion || len(g.requests()) > 0 || len(g.Told()) > 0 {
		t.Error("nothing new costs a request, a write or an event")
	}
	g.offer("app@1.0.0", "app@1.1.0", "app@1.2.0")
	if now := g.Ready("app"); now.Status.Artifact.Revision != "1.2.0" || now.Status.ObservedSourceArtifactRevision == obj.Status.ObservedSourceArtifactRevision {
		t.Errorf("got %+v", now.Status)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.offer("app@1.0.0")
	g.create("app", "HelmRepository", "web", "app", func(s *sourcev1.HelmChartSpec) {
		s.ValuesFiles, s.IgnoreMissingValuesFiles = []string{"values.yaml", "gone.yaml", "prod.yaml"}, true
	})
	obj := g.Ready("app")
	if obj.Status.Artifact.Revision != "1.0.0+1" || cmp.Diff([]string{"values.yaml", "prod.yaml"}, obj.Status.ObservedValuesFiles) != "" {
		t.Errorf("got %+v", obj.Status)
	}
	c := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReadyCondition)
	if c.Reason != "ChartPackageSucceeded" || c.Message != "packaged 'app' chart with version '1.0.0+1', with merged values files [values.yaml prod.yaml]" {
		t.Errorf("Ready is %+v", c)
	}
	chart, err := loader.LoadArchive(bytes.NewReader(g.Served(obj.Status.Artifact.Path)))
	must(t, err)
	if diff := cmp.Diff(map[string]any{"a": map[string]any{"b": 1.0, "c": 2.0}}, chart.Values); diff != "" || chart.Metadata.Version != "1.0.0+1" {
		t.Errorf("version %q, values %s", chart.Metadata.Version, diff)
	}
	obj.Spec.IgnoreMissingValuesFiles = false
	must(t, g.C.Update(t.Context(), obj))
	g.fails("app", "ValuesFilesError", `"gone.yaml"`)
}

func TestFromRegistry(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, tag := range []string{"1.0.0", "1.1.0_build", "2.0.0-rc.1"} {
		g.push("charts/app", tag, archive(t, "app", files("app", strings.ReplaceAll(tag, "_", "+"))))
	}
	for name, c := range map[string]struct{ version, want string }{
		"newest": {"", "1.1.0+build"}, "range": {"~1.0", "1.0.0"}, "exact": {"2.0.0-rc.1", "2.0.0-rc.1"},
	} {
		g.create(name, "HelmRepository", "oci", "app", func(s *sourcev1.HelmChartSpec) { s.Version = c.version })
		obj := g.Ready(name)
		if obj.Status.Artifact.Revision != c.want {
			t.Errorf("%s: got %q, want %q", name, obj.Status.Artifact.Revision, c.want)
		}
		if again := g.Ready(name); again.ResourceVersion != obj.ResourceVersion {
			t.Errorf("%s: nothing new was written", name)
		}
	}
	g.create("unsigned", "HelmRepository", "oci", "app", func(s *sourcev1.HelmChartSpec) {
		s.Verify = &sourcev1.HelmChartVerification{Provider: "cosign", SecretRef: &meta.LocalObjectReference{Name: "gone"}}
	})
	g.fails("unsigned", "ChartVerificationError", `"gone"`)
	if obj := g.fails("unsigned", "ChartVerificationError", `"gone"`); obj.Status.Artifact != nil {
		t.Error("what was not verified is published")
	}
}

func TestFromGit(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	tree := map[string]string{"prod.yaml": "a: {b: 9}\n", "charts/lib/Chart.yaml": metadata("lib", "0.1.0"), "charts/app/.helmignore": "*.bak\n", "charts/app/x.bak": "x"}
	for n, text := range files("app", "1.0.0") {
		tree["charts/app/"+n] = text
	}
	tree["charts/app/Chart.yaml"] += "dependencies:\n- name: lib\n  version: 0.x\n  repository: file://../lib\n- name: web\n  version: ~1\n  repository: " + g.web.URL + "/charts/\n"
	g.offer("web@1.0.0", "web@1.0.5", "web@2.0.0")
	repo := g.commit(tree)
	g.create("app", "GitRepository", "git", "./charts/app", func(s *sourcev1.HelmChartSpec) { s.ValuesFiles = []string{"charts/app/values.yaml", "prod.yaml"} })
	g.create("each", "GitRepository", "git", "charts/app", func(s *sourcev1.HelmChartSpec) { s.ReconcileStrategy = "Revision" })
	obj, each := g.Ready("app"), g.Ready("each")
	hash := repo.Status.Artifact.Revision[strings.LastIndex(repo.Status.Artifact.Revision, ":")+1:][:12]
	if obj.Status.Artifact.Revision != "1.0.0+1" || each.Status.Artifact.Revision != "1.0.0+"+hash {
		t.Errorf("got %q and %q", obj.Status.Artifact.Revision, each.Status.Artifact.Revision)
	}
	chart, err := loader.LoadArchive(bytes.NewReader(g.Served(obj.Status.Artifact.Path)))
	must(t, err)
	got := map[string]string{}
	for _, d := range chart.Dependencies() {
		got[d.Name()] = d.Metadata.Version
	}
	if diff := cmp.Diff(map[string]string{"lib": "0.1.0", "web": "1.0.5"}, got); diff != "" {
		t.Error(diff)
	}
	for _, f := range chart.Raw {
		if strings.HasSuffix(f.Name, ".bak") {
			t.Error("what .helmignore names is in the chart")
		}
	}
	if again := g.Ready("app"); again.ResourceVersion != obj.ResourceVersion {
		t.Error("nothing new was written")
	}
	g.commit(map[string]string{"other.txt": "x"})
	if now := g.Ready("app"); now.Status.Artifact.Digest != obj.Status.Artifact.Digest || now.Status.ObservedSourceArtifactRevision == obj.Status.ObservedSourceArtifactRevision {
		t.Error("a commit without a new version made a new artifact")
	}
	if now := g.Ready("each"); now.Status.Artifact.Revision == each.Status.Artifact.Revision {
		t.Error("a commit made no new artifact with the strategy Revision")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.offer("app@1.0.0", "bad@1.0.0!", "gone@1.0.0", "other@1.0.0", "bomb@1.0.0", "up@1.0.0", "link@1.0.0", "file@1.0.0", "secret@1.0.0")
	sum := g.index
	for _, n := range []string{"other", "bomb", "up", "link", "file", "secret"} { // their digests are not what is tested
		lines := strings.Split(sum, "\n")
		for i := range lines {
			if strings.Contains(lines[i], "name: "+n) {
				lines[i+2] = "    digest: ''"
			}
		}
		sum = strings.Join(lines, "\n")
	}
	sum = strings.Replace(sum, "- file-1.0.0.tgz", "- file:///etc/passwd", 1)
	g.publish(sum)
	delete(g.archives, "gone-1.0.0.tgz")
	g.put("other-1.0.0.tgz", archive(t, "app", files("app", "1.0.0")))
	g.put("bomb-1.0.0.tgz", archive(t, "bomb", map[string]string{"Chart.yaml": metadata("bomb", "1.0.0"), "zeros": strings.Repeat("\x00", 6<<20)}))
	g.put("up-1.0.0.tgz", archive(t, "up", map[string]string{"Chart.yaml": metadata("up", "1.0.0"), "../../etc/x": "x"}))
	g.put("link-1.0.0.tgz", linked(t))
	tree := map[string]string{
		"self/Chart.yaml": metadata("self", "1.0.0") + "dependencies:\n- {name: self, version: '*', repository: 'file://.'}\n",
		"none/Chart.yaml": metadata("none", "1.0.0") + "dependencies:\n- {name: db, version: '*', repository: 'https://charts.test'}\n",
		"out/Chart.yaml":  metadata("out", "1.0.0") + "dependencies:\n- {name: db, version: '*', repository: 'file://../../../../etc'}\n",
		"dots/Chart.yaml": "apiVersion: v2\nname: ../dots\nversion: 1.0.0\n",
		"deep/Chart.yaml": "apiVersion: v2\nname: x\nversion: " + strings.Repeat("[", 50_000) + "\n",
	}
	maps.Copy(tree, map[string]string{"plain/Chart.yaml": metadata("plain", "1.0.0")})
	g.commit(tree)
	for name, c := range map[string]struct{ kind, source, chart, version, reason, text string }{
		"no-source":  {"HelmRepository", "gone", "app", "", "SourceUnavailable", `"gone"`},
		"no-chart":   {"HelmRepository", "web", "nothing", "", "InvalidChartReference", `"nothing"`},
		"no-version": {"HelmRepository", "web", "app", ">3", "InvalidChartReference", `">3"`},
		"bad-range":  {"HelmRepository", "web", "app", "newest", "InvalidChartReference", `"newest"`},
		"dots":       {"HelmRepository", "web", "../app", "", "InvalidChartReference", `"../app"`},
		"bad-digest": {"HelmRepository", "web", "bad", "", "ChartPullError", "the index says"},
		"not-found":  {"HelmRepository", "web", "gone", "", "ChartPullError", "404"},
		"other":      {"HelmRepository", "web", "other", "", "ChartPullError", `"app"`},
		"bomb":       {"HelmRepository", "web", "bomb", "", "ChartPullError", "larger than allowed"},
		"up":         {"HelmRepository", "web", "up", "", "ChartPullError", "leads out"},
		"link":       {"HelmRepository", "web", "link", "", "ChartPullError", "link"},
		"file":       {"HelmRepository", "web", "file", "", "URLInvalid", "only https and http"},
		"oci-gone":   {"HelmRepository", "oci", "nothing", "1.0.0", "ChartPullError", "nothing"},
		"oci-dots":   {"HelmRepository", "oci", "../app", "1.0.0", "URLInvalid", "../app"},
		"git-gone":   {"GitRepository", "git", "nothing", "", "InvalidChartReference", `"nothing"`},
		"git-dots":   {"GitRepository", "git", "dots", "", "ChartPackageError", "../dots"},
		"git-deep":   {"GitRepository", "git", "deep", "", "ChartPackageError", "Chart.yaml"},
		"git-self":   {"GitRepository", "git", "self", "", "DependencyBuildError", "itself"},
		"git-none":   {"GitRepository", "git", "none", "", "DependencyBuildError", "https://charts.test"},
		"git-out":    {"GitRepository", "git", "out", "", "DependencyBuildError", `"/etc"`},
	} {
		t.Run(name, func(t *testing.T) {
			g.T = t
			g.create(name, c.kind, c.source, c.chart, func(s *sourcev1.HelmChartSpec) { s.Version = c.version })
			if obj := g.fails(name, c.reason, c.text); obj.Status.Artifact != nil {
				t.Error("something is published")
			}
		})
	}
}

// linked is a chart with a symbolic link.
func linked(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	text := metadata("link", "1.0.0")
	must(t, tw.WriteHeader(&tar.Header{Name: "link/Chart.yaml", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}))
	_, err := io.WriteString(tw, text)
	must(t, err)
	must(t, tw.WriteHeader(&tar.Header{Name: "link/values.yaml", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}))
	must(t, tw.Close())
	must(t, zw.Close())
	return out.Bytes()
}

// TestPackageIsDeterministic asserts that the same content gives the same archive.
func TestPackageIsDeterministic(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.commit(map[string]string{"app/Chart.yaml": metadata("app", "1.0.0"), "app/b": "b", "app/a": "a"})
	var digests []string
	for i := range 2 {
		name := fmt.Sprintf("app-%d", i)
		g.create(name, "GitRepository", "git", "app", nil)
		digests = append(digests, g.Ready(name).Status.Artifact.Digest)
	}
	if digests[0] != digests[1] {
		t.Errorf("got %q", digests)
	}
}

// TestSourceReasons asserts what is said of a source that has nothing yet, and of one of
// a kind that the schema let pass once.
func TestSourceReasons(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.create("early", "HelmRepository", "web", "app", nil)
	g.fails("early", sourcev1.NoSourceArtifactReason, "no artifact yet")
	g.create("nobody", "HelmRepository", "gone", "app", nil)
	g.fails("nobody", sourcev1.SourceUnavailableReason, "gone")

	old := &sourcev1.HelmChart{Spec: sourcev1.HelmChartSpec{Chart: "app", SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: "OCIRepository", Name: "app"}}}
	old.Namespace, old.Name = g.NS, "old"
	_, err := New(Options{Client: g.C, Live: g.C, Store: g.Store}).Reconcile(t.Context(), old)
	if f, ok := errors.AsType[*loop.Failure](err); !ok || f.Reason != sourcev1.UnsupportedSourceKindReason || !f.Final {
		t.Errorf("got %v", err)
	}
}
