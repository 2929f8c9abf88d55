package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/toolkit"
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

// commitFiles makes a repository whose only commit has the files that are named, and returns its folder.
func commitFiles(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("resources: []\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "."},
		{"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "first"},
	} {
		if _, err := git(t.Context(), dir, args...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLocateRefuses(t *testing.T) {
	empty, bare, app := t.TempDir(), t.TempDir(), commitFiles(t, "overlays/dev/kustomization.yaml", "kustomization.yml", "deploy/web.yaml")
	if _, err := git(t.Context(), bare, "init", "-q", "--bare"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(app, "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ repo, path, want string }{
		"no repository":            {repo: "nothing", want: "neither a directory nor the URL"},
		"another scheme":           {repo: "ftp://example.com/a", want: `scheme "ftp"`},
		"SSH without a key":        {repo: "ssh://git@host/a", want: "needs --identity and --known-hosts"},
		"SSH, written short":       {repo: "git@host:a/b", want: "needs --identity and --known-hosts"},
		"a directory without Git":  {repo: empty, want: "is not a Git repository"},
		"no commit":                {repo: bare, want: "has no commit"},
		"a server that is away":    {repo: "http://127.0.0.1:1/a.git", want: "looking for the default branch"},
		"no such path":             {repo: app, path: "./overlays/prod", want: `--path "./overlays/prod" is not in the last commit; directories with a kustomization file are "./", "./overlays/dev"`},
		"what git would interpret": {repo: app, path: ":(icase)DEPLOY", want: `--path ":(icase)DEPLOY" is not in the last commit; `},
		"a file":                   {repo: app, path: "deploy/web.yaml", want: `"deploy/web.yaml" is a file`},
		"not committed":            {repo: app, path: "new", want: "in no commit"},
		"beside a strange name":    {repo: commitFiles(t, "a ü/kustomization.yaml"), path: "a", want: `directories with a kustomization file are "./a ü"`},
	}
	for name, test := range tests {
		d := &demo{Options: Options{Repo: test.repo, Path: test.path, Dir: t.TempDir(), Timeout: time.Minute}}
		_, err := d.locate(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: locate(%q, %q): error = %v, want one with %q", name, test.repo, test.path, err, test.want)
		}
	}
}

func TestLocateFindsDirectories(t *testing.T) {
	app := commitFiles(t, "overlays/dev/kustomization.yaml")
	for path, want := range map[string]string{"": "./", ".": ".", "./overlays/dev": "./overlays/dev", "/overlays/dev/": "/overlays/dev/"} {
		d := &demo{Options: Options{Repo: app, Path: path, Dir: t.TempDir(), Timeout: time.Minute}}
		f, err := d.locate(t.Context())
		if err != nil || f.Branch != "main" || f.Path != want {
			t.Errorf("locate(%q) = %+v, %v", path, f, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(app, "overlays")); err != nil {
		t.Fatal(err)
	}
	d := &demo{Options: Options{Repo: filepath.Join(app, ".git"), Path: "overlays/dev", Dir: t.TempDir(), Timeout: time.Minute}}
	if _, err := d.locate(t.Context()); err != nil {
		t.Errorf("what counts is the commit, not the work tree: %v", err)
	}
}

// A path in a repository elsewhere is looked for as well.
func TestLocateLooksIntoServers(t *testing.T) {
	root := t.TempDir()
	if err := os.Rename(commitFiles(t, "deploy/kustomization.yaml"), filepath.Join(root, "app.git")); err != nil {
		t.Fatal(err)
	}
	server, err := gitserver.Start(gitserver.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	d := &demo{Options: Options{Repo: server.URL("app.git"), Path: "deploy", Dir: t.TempDir(), Timeout: time.Minute}}
	if f, err := d.locate(t.Context()); err != nil || f.Branch != "main" || f.URL != server.URL("app.git") {
		t.Errorf("locate = %+v, %v", f, err)
	}
	d.Path = "deployment"
	want := `--path "deployment" is not in the last commit; directories with a kustomization file are "./deploy"`
	if _, err := d.locate(t.Context()); err == nil || err.Error() != want {
		t.Errorf("locate: error = %v, want %s", err, want)
	}
}

// What is asked for wrongly is told before anything is started, and leaves nothing behind.
func TestRunChecksFirst(t *testing.T) {
	programs, definitions := t.TempDir(), t.TempDir()
	o := Options{Program: "/nowhere", BinDir: programs, ConfigDir: definitions, Dir: t.TempDir(), Out: os.Stdout}
	refused := func(want string) {
		t.Helper()
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run: error = %v, want one with %q", err, want)
		}
	}
	refused("make build builds it")
	for _, name := range toolkit.All {
		if err := os.WriteFile(filepath.Join(programs, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused("no definitions in")
	if err := os.WriteFile(filepath.Join(definitions, "a.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Path = "deploy"
	refused("--path needs --repo")
	o.Repo = commitFiles(t, "kustomization.yaml")
	refused(`--path "deploy" is not in the last commit`)
	o.Dir, o.Once = "", true
	t.Setenv("TMPDIR", t.TempDir())
	refused("is not in the last commit")
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
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
