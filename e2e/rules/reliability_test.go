package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// shown is a folder of docs/reliability.md with what is shown by it, up to the
	// next folder.
	shown    = regexp.MustCompile("`([a-z0-9/-]+)` ([^`|]+)")
	scenario = regexp.MustCompile(`\b[a-z]+(?:-[a-z]+)*\b`)
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
)

// The page on reliability names tests; each of them has to exist where it says.
func TestPromisesAreShown(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Promise") {
			continue
		}
		_, tests, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		found := shown.FindAllStringSubmatch(tests, -1)
		if len(found) == 0 {
			t.Errorf("this promise is shown by nothing: %s", line)
		}
		for _, m := range found {
			n += checkShown(t, m[1], m[2])
		}
	}
	if n < 80 {
		t.Errorf("the page names %d tests and scenarios; it has lost some, or the test reads it wrongly", n)
	}
}

func checkShown(t *testing.T, folder, names string) int {
	t.Helper()
	if folder == "e2e/scenarios" {
		files := scenario.FindAllString(names, -1)
		for _, name := range files {
			if _, err := os.Stat(filepath.Join(root, folder, name+".txtar")); err != nil {
				t.Errorf("there is no scenario %s", name)
			}
		}
		return len(files)
	}
	found, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, file := range found {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(data)
	}
	tests := testName.FindAllString(names, -1)
	if len(tests) == 0 {
		t.Errorf("%s shows %q, which is no test", folder, names)
	}
	for _, name := range tests {
		if !strings.Contains(code.String(), "\nfunc "+name+"(") {
			t.Errorf("%s has no %s", folder, name)
		}
	}
	return len(tests)
}
