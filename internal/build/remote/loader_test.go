package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/gitserver"
)

func TestParse(t *testing.T) {
	for raw, want := range map[string]string{
		"https://example.com/a.yaml":                                                        "file https://example.com/a.yaml",
		"https://example.com/a/b/c.yaml?x=y":                                                "file https://example.com/a/b/c.yaml?x=y",
		"https://github.com/org/repo/releases/download/v1/install.yaml":                     "file https://github.com/org/repo/releases/download/v1/install.yaml",
		"https://raw.githubusercontent.com/org/repo/main/install.yaml":                      "file https://raw.githubusercontent.com/org/repo/main/install.yaml",
		"https://github.com/org/repo":                                                       "git https://github.com/org/repo / ",
		"https://github.com/org/repo/some/dir?ref=v1":                                       "git https://github.com/org/repo /some/dir v1",
		"https://github.com/org/repo//some/dir?ref=v1&timeout=90s":                          "git https://github.com/org/repo /some/dir v1",
		"github.com/org/repo?ref=main":                                                      "git https://github.com/org/repo / main",
		"gh:org/repo//dir":                                                                  "git https://github.com/org/repo /dir ",
		"https://git.example.com/team/sub/repo.git/dir?version=v2":                          "git https://git.example.com/team/sub/repo.git /dir v2",
		"https://git.example.com/team/sub/repo//dir":                                        "git https://git.example.com/team/sub/repo /dir ",
		"https://dev.azure.com/org/project/_git/repo/dir?ref=x":                             "git https://dev.azure.com/org/project/_git/repo /dir x",
		"git::https://git.example.com/team/repo/dir":                                        "git https://git.example.com/team/repo /dir ",
		"HTTPS://github.com/org/repo":                                                       "git https://github.com/org/repo / ",
		"https://git.example.com/org/repo.git?ref=0123456789abcdef0123456789abcdef01234567": "git https://git.example.com/org/repo.git / 0123456789abcdef0123456789abcdef01234567",
		"git@github.com:org/repo":                                                           "only https",
		"ssh://git@github.com/org/repo":                                                     "only https",
		"file:///etc/passwd":                                                                "only https",
		"ftp://example.com/a.yaml":                                                          "only https",
		"https:///a.yaml":                                                                   "not a URL",
		"https://github.com/org/repo//../../etc?ref=x":                                      "leaves the repository",
		"https://github.com/org/repo?ref=x&exec=y":                                          `"exec"`,
		"https://github.com/org/repo?ref=x&submodules=true":                                 "submodules",
	} {
		a, err := parse(raw)
		got := fmt.Sprintf("git %s %s %s", a.repo, a.dir, a.ref)
		switch {
		case err != nil:
			got = err.Error()
			if !errors.Is(err, build.ErrRemote) {
				t.Errorf("%s: error is %v", raw, err)
			}
		case a.file != nil:
			got = "file " + a.file.String()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: %q}\n"

// rig is an engine with a Git server and a web server that it may ask.
type rig struct {
	*testing.T
	git    *gitserver.Server
	web    *httptest.Server
	hits   atomic.Int64
	loader *Loader
	engine *build.Engine
	serve  http.HandlerFunc
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	g := &rig{T: t}
	var err error
	if g.git, err = gitserver.Start(gitserver.Options{Root: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.git.Close() })
	g.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.hits.Add(1)
		g.serve(w, r)
	}))
	t.Cleanup(g.web.Close)
	o.Dir = filepath.Join(t.TempDir(), "bases")
	if g.loader, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.loader.Close() })
	g.engine = build.New(build.Options{Remote: g.loader})
	return g
}

// build builds the root of a tree; the text is names and values, or the error.
func (g *rig) build(tree *artifact.Tree) (text string, cached bool) {
	g.Helper()
	result, err := g.engine.Build(g.Context(), tree, build.Spec{Scope: "ns/app"})
	if err != nil {
		return "error: " + err.Error(), false
	}
	var out []string
	for _, o := range result.Objects {
		u, err := o.Unstructured()
		if err != nil {
			g.Fatal(err)
		}
		data, _ := u.Object["data"].(map[string]any)
		out = append(out, fmt.Sprintf("%s=%v", o.Name, data["v"]))
	}
	return strings.Join(out, " "), result.Cached
}

func (g *rig) want(tree *artifact.Tree, text string, cached bool) {
	g.Helper()
	if got, c := g.build(tree); got != text || c != cached {
		g.Errorf("built %q, cached %t; want %q, %t", got, c, text, cached)
	}
}

func kustomization(text string) *artifact.Tree {
	return artifact.NewTree(map[string][]byte{"kustomization.yaml": []byte(text)}, nil)
}

// TestGitBase builds a base of a repository by branch, which is asked for each
// time, and by commit, which is not.
func TestGitBase(t *testing.T) {
	g := newRig(t, Options{Hosts: []string{"127.0.0.1"}})
	if err := g.git.Init("team/repo", map[string]string{
		"overlays/prod/kustomization.yaml": "resources: [../../base]\nnamePrefix: prod-\n",
		"base/kustomization.yaml":          "resources: [a.yaml]\n", "base/a.yaml": fmt.Sprintf(cm, "a", "1"),
		"evil/kustomization.yaml": "configMapGenerator: [{name: x, files: [../../../../secret.txt]}]\n",
	}); err != nil {
		t.Fatal(err)
	}
	address := g.git.URL("team/repo")
	branch := kustomization("resources: ['" + address + "//overlays/prod?ref=main']\nnameSuffix: -x\n")
	g.want(branch, "prod-a-x=1", false)
	before := g.git.Requests()
	g.want(branch, "prod-a-x=1", true)
	if n := g.git.Requests() - before; n > 1 {
		t.Errorf("%d requests to see that nothing has changed, want 1 at most", n)
	}
	first, err := g.git.Head("team/repo", "main")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.git.Commit("team/repo", "main", "change", map[string]string{"base/a.yaml": fmt.Sprintf(cm, "a", "2")}); err != nil {
		t.Fatal(err)
	}
	// Polls are shared for a second.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got, _ := g.build(branch); got == "prod-a-x=2" {
			break
		} else if got != "prod-a-x=1" || time.Now().After(end) {
			t.Fatalf("built %q after a new commit", got)
		}
	}
	g.want(branch, "prod-a-x=2", true)

	pinned := kustomization("resources: ['" + address + "//overlays/prod?ref=" + first + "']\n")
	g.want(pinned, "prod-a=1", false)
	before = g.git.Requests()
	g.want(pinned, "prod-a=1", true)
	if n := g.git.Requests() - before; n != 0 {
		t.Errorf("%d requests for a commit that is here", n)
	}
	for text, says := range map[string]string{
		"resources: ['" + address + "//missing?ref=main']\n":         "missing",
		"resources: ['" + address + "?ref=nowhere']\n":               "nowhere",
		"resources: ['" + address + "//evil?ref=main']\n":            "leaves the source tree",
		"resources: ['https://git.example.com/a/b.git?ref=main']\n":  "not allowed by --remote-bases-allow",
		"resources: ['https://u:hunter2@git.example.com/a/b.git']\n": "not allowed by --remote-bases-allow",
	} {
		tree := artifact.NewTree(map[string][]byte{"kustomization.yaml": []byte(text), "secret.txt": []byte("x")}, nil)
		got, _ := g.build(tree)
		if !strings.HasPrefix(got, "error: ") || !strings.Contains(got, says) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %s, want an error that says %q", text, got, says)
		}
	}
}

// TestFiles builds from files by URL in each field that takes one.
func TestFiles(t *testing.T) {
	g := newRig(t, Options{Hosts: []string{"127.0.0.1"}, MaxBytes: 1 << 20})
	value := "1"
	g.serve = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/a.yaml":
			fmt.Fprintf(w, cm, "a", value)
		case "/patch.yaml":
			fmt.Fprintf(w, cm, "a", "patched")
		case "/replacement.yaml":
			fmt.Fprint(w, "source: {kind: ConfigMap, name: a, fieldPath: metadata.name}\ntargets: [{select: {kind: ConfigMap, name: a}, fieldPaths: [data.v]}]\n")
		case "/labels.yaml":
			fmt.Fprint(w, "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: p}\nprefix: p-\nfieldSpecs: [{path: metadata/name}]\n")
		case "/v":
			fmt.Fprint(w, value)
		case "/env":
			fmt.Fprint(w, "v="+value)
		case "/schema.json", "/crd.json":
			fmt.Fprint(w, "{}")
		case "/config.yaml":
			fmt.Fprint(w, "namePrefix: [{path: metadata/name}]\n")
		case "/large":
			_, _ = w.Write(make([]byte, 2<<20))
		default:
			http.NotFound(w, r)
		}
	}
	at := g.web.URL
	for text, want := range map[string]string{
		"resources: ['" + at + "/a.yaml']\n":                                                                            "a=1",
		"resources: ['" + at + "/a.yaml']\npatches: [{path: '" + at + "/patch.yaml'}]\n":                                "a=patched",
		"resources: ['" + at + "/a.yaml']\npatchesStrategicMerge: ['" + at + "/patch.yaml']\n":                          "a=patched",
		"resources: ['" + at + "/a.yaml']\nreplacements: [{path: '" + at + "/replacement.yaml'}]\n":                     "a=a",
		"resources: ['" + at + "/a.yaml']\ntransformers: ['" + at + "/labels.yaml']\n":                                  "p-a=1",
		"resources: ['" + at + "/a.yaml']\ncrds: ['" + at + "/crd.json']\nopenapi: {path: '" + at + "/schema.json'}\n":  "a=1",
		"resources: ['" + at + "/a.yaml']\nnamePrefix: q-\nconfigurations: ['" + at + "/config.yaml']\n":                "q-a=1",
		"generatorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator: [{name: g, files: ['" + at + "/v']}]\n":   "g=1",
		"generatorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator: [{name: g, files: ['v=" + at + "/v']}]\n": "g=1",
		"generatorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator: [{name: g, envs: ['" + at + "/env']}]\n":  "g=1",
	} {
		g.want(kustomization(text), want, false)
	}
	tree := kustomization("resources: ['" + at + "/a.yaml']\n")
	g.build(tree) // an engine keeps the last two states
	g.want(tree, "a=1", true)
	value = "2"
	g.want(tree, "a=2", false)
	for text, says := range map[string]string{
		"resources: ['" + at + "/none.yaml']\n":      "404",
		"resources: ['" + at + "/large']\n":          "--remote-bases-max-size",
		"resources: ['http://127.0.0.1:1/a.yaml']\n": "127.0.0.1:1",
		"generators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: x}, files: [\"" + at + "/v\"]}']\n": "plugin's configuration",
		"helmCharts: [{name: x, repo: '" + at + "'}]\n":                                                                     "Helm",
	} {
		if got, _ := g.build(kustomization(text)); !strings.HasPrefix(got, "error: ") || !strings.Contains(got, says) {
			t.Errorf("%s: %s, want an error that says %q", text, got, says)
		}
	}
}

// TestNothingIsDialledUnlessAllowed: with remote bases forbidden no field leads
// anywhere, and by default none leads to this node.
func TestNothingIsDialledUnlessAllowed(t *testing.T) {
	g := newRig(t, Options{})
	g.serve = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, cm, "a", "1") }
	forbidden := build.New(build.Options{})
	for _, text := range []string{
		"resources: [%s]", "bases: [%s]", "components: [%s]", "patches: [{path: %s}]", "openapi: {path: %s}", "crds: [%s]", "configurations: [%s]",
		"generators: [%s]", "transformers: [%s]", "validators: [%s]", "replacements: [{path: %s}]", "patchesStrategicMerge: [%s]",
		"configMapGenerator: [{name: x, files: [%s]}]", "secretGenerator: [{name: x, envs: [%s]}]", "helmCharts: [{name: x, repo: %s}]",
	} {
		for _, target := range []string{g.web.URL + "/a.yaml", g.web.URL + "/org/repo.git?ref=main"} {
			tree := kustomization(fmt.Sprintf(text+"\n", "'"+target+"'"))
			if got, _ := g.build(tree); !strings.HasPrefix(got, "error: ") {
				t.Errorf("%s: built %q from this node", text, got)
			}
			if _, err := forbidden.Build(t.Context(), tree, build.Spec{}); err == nil || !strings.Contains(target, "=") && !errors.Is(err, build.ErrRemote) && !errors.Is(err, build.ErrPlugin) {
				t.Errorf("%s: forbidden, and the error is %v", text, err)
			}
		}
	}
	if n := g.hits.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

// TestRedirects follows what stays where it may.
func TestRedirects(t *testing.T) {
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, cm, "a", "other") }))
	defer other.Close()
	g := newRig(t, Options{Hosts: []string{"127.0.0.1"}, Timeout: 2 * time.Second})
	g.serve = func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved.yaml":
			http.Redirect(w, r, "/a.yaml", http.StatusFound)
		case "/scheme.yaml":
			http.Redirect(w, r, other.URL+"/a.yaml", http.StatusFound)
		case "/away.yaml":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		case "/loop.yaml":
			http.Redirect(w, r, "/loop.yaml", http.StatusFound)
		case "/hang.yaml":
			<-r.Context().Done()
		default:
			fmt.Fprintf(w, cm, "a", "here")
		}
	}
	for file, want := range map[string]string{
		"moved": "a=here", "scheme": "redirect to another scheme", "away": "not allowed", "loop": "5 redirects", "hang": "deadline",
	} {
		got, _ := g.build(kustomization("resources: ['" + g.web.URL + "/" + file + ".yaml']\n"))
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %q", file, got, want)
		}
	}
}

func TestRefuseNode(t *testing.T) {
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", "169.254.169.254:80", "[fe80::1]:80", "0.0.0.0:80", "[::ffff:127.0.0.1]:80", "224.0.0.1:80"} {
		if err := refuseNode("tcp", address, nil); !errors.Is(err, build.ErrRemote) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := refuseNode("tcp", "192.0.2.1:443", nil); err != nil {
		t.Error(err)
	}
	p := policy{hosts: []string{"git.example.com", "other.example.com:8443"}}
	for host, allowed := range map[string]bool{"git.example.com": true, "git.example.com:9": true, "GIT.example.com": true, "other.example.com": false, "other.example.com:8443": true, "x.git.example.com": false} {
		if err := p.check(&url.URL{Scheme: "https", Host: host}); (err == nil) != allowed {
			t.Errorf("%s: %v", host, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.dial(ctx, "tcp", "elsewhere.example.com:443"); !errors.Is(err, build.ErrRemote) {
		t.Errorf("dialling elsewhere: %v", err)
	}
}
