// Package rules holds what is true of the repository as a whole, as tests.
package rules

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/weirhq/weir/"
)

// allowed says which modules of the workspace a module may import.
var allowed = map[string][]string{
	"api":                         {},
	"internal":                    {"api"},
	"source-controller":           {"api", "internal"},
	"kustomize-controller":        {"api", "internal"},
	"notification-controller":     {"api", "internal"},
	"image-automation-controller": {"api", "internal"},
	"local":                       {"api", "internal"},
	"e2e":                         {"api", "internal"},
}

// files calls fn for each Go file of the workspace.
func files(t *testing.T, fn func(path string, f *ast.File, set *token.FileSet)) {
	t.Helper()
	for dir := range allowed {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(d.Name(), "zz_") {
				return err
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			fn(filepath.ToSlash(rel), f, set)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestImportDirections(t *testing.T) {
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		from, _, _ := strings.Cut(path, "/")
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			rest, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			to, _, _ := strings.Cut(rest, "/")
			if to != from && !slices.Contains(allowed[from], to) {
				t.Errorf("%s imports %s: %s may import only %v", path, imported, from, allowed[from])
			}
			if spec.Name == nil && regexp.MustCompile(`/v\d`).MatchString(rest) {
				t.Errorf("%s imports %s without the alias that names its group", path, imported)
			}
		}
	})
}

// One alias per package, so that a reader knows a package by its name.
func TestOneAliasPerPackage(t *testing.T) {
	seen := map[string]map[string]string{} // package, alias, first file
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		for _, spec := range f.Imports {
			if spec.Name == nil || spec.Name.Name == "_" || spec.Name.Name == "." {
				continue
			}
			if seen[spec.Path.Value] == nil {
				seen[spec.Path.Value] = map[string]string{}
			}
			if _, ok := seen[spec.Path.Value][spec.Name.Name]; !ok {
				seen[spec.Path.Value][spec.Name.Name] = path
			}
		}
	})
	for pkg, aliases := range seen {
		if len(aliases) > 1 {
			t.Errorf("%s has %d aliases: %v", pkg, len(aliases), aliases)
		}
	}
}

// Environment variables and flags are read where a program starts.
func TestSettingsAreReadInMain(t *testing.T) {
	allowedFiles := []string{"/main.go", "internal/build/confine.go", // takes PATH away
		"_test.go", "local/", "e2e/", "internal/process/", "internal/testenv/", "internal/gitserver/", "internal/toolkit/"}
	files(t, func(path string, f *ast.File, set *token.FileSet) {
		if slices.ContainsFunc(allowedFiles, func(part string) bool { return strings.Contains(path, part) }) {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && (sel.Sel.Name == "Getenv" || sel.Sel.Name == "LookupEnv" || sel.Sel.Name == "Args") {
				t.Errorf("%s: os.%s outside of main", set.Position(n.Pos()), sel.Sel.Name)
			}
			return true
		})
	})
}

func TestPackagesAreNamedAfterThings(t *testing.T) {
	bad := []string{"util", "utils", "common", "helper", "helpers", "types", "pkg", "misc", "base"}
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		if slices.Contains(bad, f.Name.Name) {
			t.Errorf("%s: package %s says nothing about what is in it", path, f.Name.Name)
		}
	})
}

// Every package says what it is for.
func TestPackagesHaveADocComment(t *testing.T) {
	documented := map[string]bool{}
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		if strings.HasSuffix(path, "_test.go") && !onlyTests(filepath.Dir(path)) {
			return
		}
		dir := filepath.Dir(path)
		documented[dir] = documented[dir] || f.Doc != nil && len(f.Doc.Text()) > 20
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

func onlyTests(dir string) bool {
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return strings.HasSuffix(e.Name(), ".go") && !strings.HasSuffix(e.Name(), "_test.go")
	})
}

// A TODO says what is missing and why.
func TestLeftoversAreExplained(t *testing.T) {
	mark := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b(.*)`)
	files(t, func(path string, f *ast.File, set *token.FileSet) {
		for _, group := range f.Comments {
			if m := mark.FindStringSubmatch(group.Text()); m != nil && len(strings.Fields(m[2])) < 6 {
				t.Errorf("%s: a leftover without an explanation", set.Position(group.Pos()))
			}
		}
	})
}

// Programs that a repository or an object could reach must not exist.
func TestControllersStartNoPrograms(t *testing.T) {
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		test := strings.HasSuffix(path, "_test.go")
		for _, dir := range []string{"local/", "e2e/", "internal/gitserver/", "internal/testenv/", "internal/toolkit/"} {
			test = test || strings.HasPrefix(path, dir)
		}
		for _, spec := range f.Imports {
			if spec.Path.Value == `"os/exec"` && !test {
				t.Errorf("%s imports os/exec", path)
			}
		}
	})
}

// What is generated is what the generator makes of the source now.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if _, err := os.Stat(root + "/.git"); err != nil {
		t.Skip("not a git checkout: what was generated cannot be compared")
	}
	before := snapshot(t)
	out, err := exec.Command("bash", root+"/tools/generate.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("generating: %v\n%s", err, out)
	}
	for path, now := range snapshot(t) {
		if !bytes.Equal(before[path], now) {
			t.Errorf("%s is not current: run make generate and commit the result", path)
		}
	}
}

func snapshot(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, pattern := range []string{"/api/*/zz_generated.*.go", "/api/*/*/zz_generated.*.go", "/config/crd/bases/*.yaml"} {
		paths, err := filepath.Glob(root + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out[path] = data
		}
	}
	if len(out) < 15 {
		t.Fatalf("found %d generated files, want the deep copies and thirteen definitions", len(out))
	}
	return out
}

// Every reason that the API names is documented there, and every kind has
// a sample, and a page if it is reconciled.
func TestEveryKindIsDocumented(t *testing.T) {
	crds, err := filepath.Glob(root + "/config/crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range crds {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kind := regexp.MustCompile(`(?m)^    singular: (\w+)$`).FindSubmatch(data)
		if kind == nil {
			t.Errorf("%s names no kind", path)
			continue
		}
		if _, err := os.Stat(root + "/config/samples/" + string(kind[1]) + ".yaml"); err != nil {
			t.Errorf("kind %s has no sample: %v", kind[1], err)
		}
		if !bytes.Contains(data, []byte("additionalPrinterColumns:")) {
			t.Errorf("kind %s has no printer columns", kind[1])
		}
	}
	for _, kind := range []string{"gitrepository", "ocirepository", "helmrepository", "helmchart", "bucket", "externalartifact", "kustomization", "provider", "alert", "receiver", "imagerepository", "imagepolicy", "imageupdateautomation"} {
		if _, err := os.Stat(root + "/docs/kinds/" + kind + ".md"); err != nil {
			t.Errorf("kind %s has no page: %v", kind, err)
		}
	}
}
