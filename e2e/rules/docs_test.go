package rules

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// documents calls fn for each Markdown file that people read.
func documents(t *testing.T, fn func(path, text string)) {
	t.Helper()
	paths := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 30 {
		t.Fatalf("there are only %d documents", len(paths))
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fn(path, string(data))
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	fence   = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)^ *```$")
	noSlug  = regexp.MustCompile(`[^a-z0-9]+`)
)

// anchor is what a heading is linked by, on the site and on most Git hosts.
func anchor(heading string) string {
	return strings.Trim(noSlug.ReplaceAllString(strings.ToLower(heading), "-"), "-")
}

func TestLinksLeadSomewhere(t *testing.T) {
	documents(t, func(path, text string) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target := m[1]
			if strings.HasPrefix(target, "https://") || strings.HasPrefix(target, "http://") {
				if strings.Contains(target, "weirhq") {
					t.Errorf("%s links to %s: nothing is published there", path, target)
				}
				continue
			}
			file, fragment, _ := strings.Cut(target, "#")
			goal := path
			if file != "" {
				goal = filepath.Join(filepath.Dir(path), file)
			}
			info, err := os.Stat(goal)
			if err != nil {
				t.Errorf("%s links to %s, which is not there", path, target)
				continue
			}
			if fragment == "" || info.IsDir() {
				continue
			}
			data, err := os.ReadFile(goal)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(string(data), -1) {
				found = found || anchor(h[1]) == fragment
			}
			if !found {
				t.Errorf("%s links to %s: there is no such heading", path, target)
			}
		}
	})
}

var (
	target   = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
	makeCall = regexp.MustCompile(`(?m)(?:^|[` + "`" + ` ])make ([a-z][a-z0-9-]*)`)
	ownPath  = regexp.MustCompile(`(?:^|[\s=(` + "`" + `])((?:config|e2e|tools|docs)/[A-Za-z0-9_./-]*[A-Za-z0-9_])`)
)

// Commands of shells and in the text name targets and files that exist.
func TestCommandsExist(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(string(data), -1) {
		targets[m[1]] = true
	}
	documents(t, func(path, text string) {
		if strings.Contains(path, "decisions") {
			return // they speak of the day they were written
		}
		commands := text
		for _, m := range regexp.MustCompile("`make ([a-z][a-z0-9-]*)").FindAllStringSubmatch(text, -1) {
			if !targets[m[1]] {
				t.Errorf("%s: make %s: there is no such target", path, m[1])
			}
		}
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			if block[2] != "sh" {
				continue
			}
			for _, m := range makeCall.FindAllStringSubmatch(block[3], -1) {
				if !targets[m[1]] {
					t.Errorf("%s: make %s: there is no such target", path, m[1])
				}
			}
		}
		for _, m := range ownPath.FindAllStringSubmatch(commands, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil && !strings.Contains(m[1], "...") {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
	})
}

// Every alert has a section that says what to do, and no section is of an alert that
// is gone.
func TestAlertsHaveARunbook(t *testing.T) {
	text := read(t, "docs/operations.md")
	_, section, _ := strings.Cut(text, "\n## Alerts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (Weir\w+)$`).FindAllStringSubmatch(section, -1) {
		sections[m[1]] = true
	}
	alerts := regexp.MustCompile(`(?s)- alert: (\w+)\n.*?severity: (\w+)\n`).FindAllStringSubmatch(read(t, "config/monitoring/rules.yaml"), -1)
	for _, m := range alerts {
		if !sections[m[1]] {
			t.Errorf("docs/operations.md has no section for the alert %s", m[1])
		}
		delete(sections, m[1])
		if row := "| [`" + m[1] + "`](#" + strings.ToLower(m[1]) + ") | " + m[2] + " |"; !strings.Contains(section, row) {
			t.Errorf("docs/operations.md has no row that begins with %s", row)
		}
	}
	if len(alerts) < 10 || len(sections) > 0 {
		t.Errorf("there are %d alerts; of sections without an alert there are %v", len(alerts), sections)
	}
}

// The list of the annotations beyond the wire API has those that the code reads, and
// no others.
func TestAnnotationsAreListed(t *testing.T) {
	listed := map[string]bool{}
	_, section, _ := strings.Cut(read(t, "docs/kinds/index.md"), "\n## Annotations of Weir\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("`weir\\.dev/([a-z-]+)`").FindAllStringSubmatch(section, -1) {
		listed[m[1]] = true
	}
	known := map[string]bool{}
	whole := regexp.MustCompile(`^weir\.dev/([a-z-]+)$`)
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "e2e/") || strings.HasPrefix(path, "local/") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if m := whole.FindStringSubmatch(unquoted(n)); m != nil {
					known[m[1]] = true
				}
			case *ast.BinaryExpr: // loop.AnnotationPrefix + "order"
				if prefix, ok := n.X.(*ast.SelectorExpr); ok && prefix.Sel.Name == "AnnotationPrefix" {
					known[unquoted(n.Y)] = true
				}
			case *ast.ValueSpec: // the table of package wish
				if strings.HasSuffix(path, "wish/wish.go") && len(n.Values) == 1 && n.Names[0].Name == "readers" {
					for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
						known[unquoted(e.(*ast.KeyValueExpr).Key)] = true
					}
				}
			}
			return true
		})
	})
	for name := range known {
		if !listed[name] {
			t.Errorf("docs/kinds/index.md does not list the annotation weir.dev/%s", name)
		}
		delete(listed, name)
	}
	if len(known) < 15 || len(listed) > 0 {
		t.Errorf("the code reads %d annotations; listed, and not read, are %v", len(known), listed)
	}
}

func unquoted(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if text, err := strconv.Unquote(lit.Value); err == nil {
			return text
		}
	}
	return ""
}
