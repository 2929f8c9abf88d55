package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// allowed is what the types may import besides the standard library, by prefix: whoever uses the API pays for it.
var allowed = []string{
	"github.com/fluxcd/pkg/apis/",
	"github.com/weirhq/weir/api/",
	"k8s.io/api/",
	"k8s.io/apiextensions-apiserver/pkg/apis/",
	"k8s.io/apimachinery/",
}

// sources parses the Go files below this directory, without tests, by their path.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || path == "zz_deps.go" {
			return err
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d files", len(files))
	}
	return files
}

func TestImports(t *testing.T) {
	for path, file := range sources(t) {
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !importAllowed(name) {
				t.Errorf("%s imports %q, which the API must not depend on", path, name)
			}
		}
	}
}

func importAllowed(name string) bool {
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	for _, prefix := range allowed {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// TestDocumentation holds every exported name, and every field, to a comment that starts with its name, and every field
// to a marker that says whether it is required.
func TestDocumentation(t *testing.T) {
	fields := 0
	for path, file := range sources(t) {
		if strings.HasPrefix(filepath.Base(path), "zz_generated") {
			continue
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() {
					checkComment(t, path, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				fields += checkDeclaration(t, path, d)
			}
		}
	}
	if fields < 200 {
		t.Errorf("looked at only %d fields", fields)
	}
}

// checkDeclaration checks constants, variables and types, and returns how many fields it has seen.
func checkDeclaration(t *testing.T, path string, decl *ast.GenDecl) int {
	fields := 0
	for _, spec := range decl.Specs {
		switch s := spec.(type) {
		case *ast.ValueSpec:
			doc := s.Doc
			if doc == nil {
				doc = decl.Doc
			}
			if s.Names[0].IsExported() {
				checkComment(t, path, s.Names[0].Name, doc)
			}
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			checkComment(t, path, s.Name.Name, decl.Doc)
			if structure, ok := s.Type.(*ast.StructType); ok && path != filepath.Join("duration", "duration.go") {
				fields += checkFields(t, path, s.Name.Name, structure)
			}
		}
	}
	return fields
}

func checkFields(t *testing.T, path, parent string, structure *ast.StructType) int {
	fields := 0
	for _, field := range structure.Fields.List {
		if len(field.Names) == 0 {
			continue // embedded: documented where it is declared
		}
		fields++
		name := field.Names[0].Name
		checkComment(t, path, name, field.Doc)
		text := "\n"
		for _, comment := range field.Doc.List {
			text += comment.Text + "\n"
		}
		required, optional := strings.Contains(text, "\n// +required\n"), strings.Contains(text, "\n// +optional\n")
		if required == optional {
			t.Errorf("%s: %s.%s must be either +required or +optional", path, parent, name)
		}
	}
	return fields
}

func checkComment(t *testing.T, path, name string, doc *ast.CommentGroup) {
	t.Helper()
	if doc == nil || !strings.HasPrefix(doc.Text(), name+" ") {
		t.Errorf("%s: the comment on %s must start with its name", path, name)
	}
}
