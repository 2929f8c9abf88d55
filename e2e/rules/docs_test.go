package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
