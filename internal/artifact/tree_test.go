package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() *Tree {
	return NewTree(map[string][]byte{
		"README.md":           []byte("hello"),
		"apps/a/deploy.yaml":  []byte("kind: Deployment"),
		"apps/a/service.yaml": []byte("kind: Service"),
		"apps/b/Deploy.yaml":  []byte("kind: Other"),
	}, map[string]string{
		"current":       "apps/a",
		"apps/b/up":     "../a/deploy.yaml",
		"apps/b/root":   "../..",
		"out":           "../etc/passwd",
		"apps/out":      "a/../../../etc",
		"abs":           "/etc/passwd",
		"loop":          "loop",
		"ping":          "pong",
		"pong":          "ping",
		"broken":        "nowhere/at/all",
		"apps/chain":    "../current/deploy.yaml",
		"sneaky":        "current/../../..",
		"apps/b/folder": "../a/",
	})
}

func TestTreeStat(t *testing.T) {
	tests := map[string]struct {
		path string
		kind Kind
		real string
		err  error
	}{
		"root":                     {"", Dir, "/", nil},
		"slash":                    {"/", Dir, "/", nil},
		"file":                     {"apps/a/deploy.yaml", File, "/apps/a/deploy.yaml", nil},
		"absolute file":            {"/apps/a/deploy.yaml", File, "/apps/a/deploy.yaml", nil},
		"not clean":                {"./apps//b/.././a/deploy.yaml", File, "/apps/a/deploy.yaml", nil},
		"other case":               {"apps/b/deploy.yaml", Absent, "/apps/b/deploy.yaml", nil},
		"through a link":           {"current/deploy.yaml", File, "/apps/a/deploy.yaml", nil},
		"link to a file":           {"apps/b/up", File, "/apps/a/deploy.yaml", nil},
		"link with a slash":        {"apps/b/folder/deploy.yaml", File, "/apps/a/deploy.yaml", nil},
		"link chain":               {"apps/chain", File, "/apps/a/deploy.yaml", nil},
		"dots after a link":        {"current/../b/Deploy.yaml", File, "/apps/b/Deploy.yaml", nil},
		"link to the root":         {"apps/b/root/README.md", File, "/README.md", nil},
		"broken link":              {"broken", Absent, "/nowhere/at/all", nil},
		"below a file":             {"README.md/x", Absent, "/README.md/x", nil},
		"climbing path":            {"../etc/passwd", Absent, "", ErrEscape},
		"climbing later":           {"apps/../../etc", Absent, "", ErrEscape},
		"climbing link":            {"out", Absent, "", ErrEscape},
		"climbing link, below":     {"apps/out/passwd", Absent, "", ErrEscape},
		"climbing through a link":  {"sneaky", Absent, "", ErrEscape},
		"absolute link":            {"abs", Absent, "", ErrEscape},
		"link to itself":           {"loop", Absent, "", ErrEscape},
		"links to each other":      {"ping/x", Absent, "", ErrEscape},
		"link below which it lies": {"apps/b/root/apps/b/root/apps/b/root/README.md", File, "/README.md", nil},
	}
	tree := sample()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			info, err := tree.Stat(tt.path)
			if !errors.Is(err, tt.err) || err == nil && (info.Kind != tt.kind || info.Real != tt.real) {
				t.Errorf("Stat(%q) = %v %q, %v; want %v %q, %v", tt.path, info.Kind, info.Real, err, tt.kind, tt.real, tt.err)
			}
		})
	}
}

func TestTreeReadFile(t *testing.T) {
	tree := sample()
	for path, want := range map[string]string{"README.md": "hello", "current/service.yaml": "kind: Service"} {
		if got, err := tree.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("ReadFile(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"nowhere": fs.ErrNotExist, "abs": ErrEscape} {
		if _, err := tree.ReadFile(path); !errors.Is(err, want) {
			t.Errorf("ReadFile(%q) fails with %v, want %v", path, err, want)
		}
	}
	if _, err := tree.ReadFile("apps"); err == nil {
		t.Error("a directory was read as a file")
	}
}

func TestTreeSums(t *testing.T) {
	tree := sample()
	sum := func(tree *Tree, p string) [32]byte {
		t.Helper()
		info, err := tree.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sum
	}
	if got := sum(tree, "README.md"); got != sha256.Sum256([]byte("hello")) {
		t.Error("a file's sum is not the SHA-256 of its content")
	}
	edited := tree.With(map[string][]byte{"/apps/a/deploy.yaml": []byte("kind: New")})
	if sum(tree, "apps/a") != sum(edited, "apps/a") {
		t.Error("a directory's sum changed with a file's content")
	}
	if sum(tree, "apps/a/deploy.yaml") == sum(edited, "apps/a/deploy.yaml") {
		t.Error("a file's sum did not change with its content")
	}
	for name, changed := range map[string]map[string][]byte{
		"file added":    {"/apps/a/new.yaml": {}},
		"file removed":  {"/apps/a/deploy.yaml": nil},
		"became folder": {"/apps/a/deploy.yaml/x": {}},
	} {
		if sum(tree, "apps/a") == sum(tree.With(changed), "apps/a") {
			t.Errorf("%s: the directory's sum did not change", name)
		}
	}
}

func TestTreeWith(t *testing.T) {
	tree := sample()
	layer := tree.With(map[string][]byte{
		"apps/a/kustomization.yaml": []byte("resources: []"),
		"apps/a/service.yaml":       nil,
		"new/deep/file":             []byte("x"),
		"nowhere/at/all":            nil,
		"empty":                     {},
	})
	got := map[string]string{}
	for _, p := range []string{"README.md", "current/kustomization.yaml", "apps/a/service.yaml", "new/deep/file", "empty", "nowhere"} {
		data, err := layer.ReadFile(p)
		if got[p] = string(data); err != nil {
			got[p] = "absent"
		}
	}
	want := map[string]string{
		"README.md": "hello", "current/kustomization.yaml": "resources: []", "apps/a/service.yaml": "absent",
		"new/deep/file": "x", "empty": "", "nowhere": "absent",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("layer (-want +got):\n%s", d)
	}
	info, _ := layer.Stat("apps/a")
	if d := cmp.Diff([]string{"deploy.yaml", "kustomization.yaml"}, info.Names); d != "" {
		t.Errorf("listing (-want +got):\n%s", d)
	}
	if info, _ := tree.Stat("apps/a"); len(info.Names) != 2 || info.Names[1] != "service.yaml" {
		t.Errorf("the layer changed its base: %v", info.Names)
	}
	if info, _ := tree.Stat("new"); info.Kind != Absent {
		t.Error("the layer changed its base's root")
	}
}

func TestTreeLinkBomb(t *testing.T) {
	links := map[string]string{}
	for i := range 60 { // each link names the next twice
		links[fmt.Sprintf("l%d", i)] = fmt.Sprintf("l%d/../l%d", i+1, i+1)
	}
	links["l60"] = "."
	if _, err := NewTree(nil, links).Stat("l0"); !errors.Is(err, ErrEscape) || !strings.Contains(err.Error(), "never end") {
		t.Errorf("Stat = %v, want an end", err)
	}
}
