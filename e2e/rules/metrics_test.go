package rules

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// composed are the metrics whose names the code puts together: those of a server,
// and those of the library of token caches.
var composed = map[string][]string{
	"_http_request_duration_seconds": {"gotk_event", "gotk_receiver"},
	"_http_response_size_bytes":      {"gotk_event", "gotk_receiver"},
	"_http_requests_inflight":        {"gotk_event", "gotk_receiver"},
	"gotk_token_":                    {"gotk_token_cache_events_total", "gotk_token_cached_items", "gotk_token_cache_requests_total", "gotk_token_cache_evictions_total"},
}

// The documentation lists the metrics that the code exports, and no others. That
// running programs export them is tested in e2e/observe.
func TestMetricsAreDocumented(t *testing.T) {
	exported := map[string]bool{}
	name := regexp.MustCompile(`^(gotk|weir)_[a-z0-9_]*[a-z0-9]$`)
	files(t, func(path string, f *ast.File, _ *token.FileSet) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "e2e/") || strings.HasPrefix(path, "local/") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range composed[text] {
				if strings.HasPrefix(text, "_") {
					part += text
				}
				exported[part] = true
			}
			exported[text] = exported[text] || name.MatchString(text)
			return true
		})
	})
	docs, err := os.ReadFile(root + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(docs), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, m := range regexp.MustCompile("`((?:gotk|weir)_[a-z0-9_]+)`").FindAllStringSubmatch(section, -1) {
		documented = append(documented, m[1])
		if !exported[m[1]] {
			t.Errorf("docs/operations.md has the metric %s, which nothing exports", m[1])
		}
	}
	for name, is := range exported {
		if is && !slices.Contains(documented, name) {
			t.Errorf("docs/operations.md does not have the metric %s", name)
		}
	}
	if len(documented) < 25 {
		t.Errorf("found %d metrics in docs/operations.md", len(documented))
	}
}
