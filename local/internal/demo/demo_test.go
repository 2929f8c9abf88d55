package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestParseRef(t *testing.T) {
	tests := map[string]ref{
		"a_web_apps_Deployment": {schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "a", "web"},
		"_a__Namespace":         {schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", "a"},
		"_system__node_rbac.authorization.k8s.io_ClusterRole": {
			schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, "", "system:node"},
	}
	for id, want := range tests {
		got, err := parseRef(id, "v1")
		if err != nil || got != want {
			t.Errorf("parseRef(%q) = %+v, %v; want %+v", id, got, err, want)
		}
	}
	if _, err := parseRef("web", "v1"); err == nil {
		t.Error("an ID without parts was accepted")
	}
}

func TestLocateRefuses(t *testing.T) {
	empty := t.TempDir()
	tests := map[string]string{
		"nothing":             "neither a directory nor the URL",
		"ftp://example.com/a": `scheme "ftp"`,
		"ssh://git@host/a":    "needs --identity and --known-hosts",
		"git@host:a/b":        "needs --identity and --known-hosts",
		empty:                 "is not a Git repository",
	}
	for repo, want := range tests {
		d := &demo{Options: Options{Repo: repo, Dir: t.TempDir()}, hook: newHook()}
		_, err := d.locate(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("locate(%q): error = %v, want one with %q", repo, err, want)
		}
	}
}

func TestClaimSparesOthers(t *testing.T) {
	dir := t.TempDir()
	lock, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(dir); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("a second run in the directory: %v", err)
	}
	old := filepath.Join(dir, "data", "old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = lock.Close()
	lock, err = claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := os.Stat(old); err == nil {
		t.Error("what a former run has left is still there")
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(foreign); err == nil {
		t.Error("a directory with something else in it was taken")
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis")); err != nil {
		t.Error(err)
	}
}

func TestExampleNamesItsRegistry(t *testing.T) {
	files, err := exampleContent("registry.test:5000")
	if err != nil {
		t.Fatal(err)
	}
	want := `image: registry.test:5000/shop/web:1.0.0 # {"$imagepolicy": "flux-system:web"}`
	if got := files["base/deployment.yaml"]; !strings.Contains(got, want) {
		t.Errorf("deployment.yaml does not contain %q:\n%s", want, got)
	}
	var names []string
	for name := range files {
		if strings.HasPrefix(name, "overlays/dev/") {
			names = append(names, name)
		}
	}
	if diff := cmp.Diff(2, len(names)); diff != "" {
		t.Errorf("files of overlays/dev: %v", names)
	}
}
