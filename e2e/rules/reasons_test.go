package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// given are the reasons that the wire API names for the kinds of sources, beside those
// that all kinds share, and that occur here.
var given = []string{
	"NewArtifact", "ArtifactVerificationFailed", "GarbageCollectionSucceeded", "GarbageCollectionFailed", "Migration",
	"VerificationError", "InvalidCommitSignature", "InvalidTagSignature", "InvalidGitObject", "InvalidVerificationMode", "ChartVerificationError",
	"URLInvalid", "AuthenticationFailed", "InvalidProviderConfiguration", "InvalidSTSConfiguration", "GitOperationFailed", "EmptyGitRepository",
	"BucketOperationFailed", "OCIArtifactPullFailed", "OCIArtifactLayerOperationFailed", "IndexationFailed", "NoSourceArtifact", "SourceUnavailable",
	"UnsupportedSourceKind", "NotFound", "NoArtifact", "CopyFailure", "IllegalPath", "ChartPullSucceeded", "ChartPackageSucceeded",
	"InvalidChartReference", "ChartPullError", "ValuesFilesError", "DependencyBuildError", "ChartPackageError", "ReadOperationFailed",
	"SourceIgnoreError", "ArchiveOperationFailed", "FeatureGateDisabled",
}

// withheld are those that do not occur here; docs/kinds/index.md says why.
var withheld = []string{
	"ArtifactUpToDate", "GitOperationSucceeded", "BucketOperationSucceeded", "ResolvedDependencies", "NewRevision", "IncludeChange", "NewChart",
	"DirectoryCreationFailed", "StatOperationFailed", "SymlinkUpdateFailed", "AcquireLockFailed", "PatchOperationFailed", "CacheOperationFailed",
	"MetadataPatchError", "InvalidPath", "Unknown",
}

// Each reason of a source that the wire API names is given, asserted by a test and
// documented with its kind; or it is not given, and the documents say why.
func TestReasonsOfSources(t *testing.T) {
	constants := reasonConstants(t)
	code, tests := sourceTexts(t)
	pages := ""
	for _, kind := range []string{"gitrepository", "ocirepository", "helmrepository", "helmchart", "bucket"} {
		pages += read(t, "docs/kinds/"+kind+".md")
	}
	excuses := read(t, "docs/kinds/index.md")
	named := map[string]bool{}
	for _, reason := range given {
		named[reason] = true
		if !mentions(code, constants, reason) {
			t.Errorf("nothing gives the reason %s", reason)
		}
		if !mentions(tests, constants, reason) {
			t.Errorf("no test asserts the reason %s", reason)
		}
		if !strings.Contains(pages, "`"+reason+"`") {
			t.Errorf("the pages of the kinds do not name the reason %s", reason)
		}
	}
	for _, reason := range withheld {
		named[reason] = true
		if mentions(code, constants, reason) {
			t.Errorf("the reason %s is given, and it is said that it is not", reason)
		}
		if !strings.Contains(excuses, "`"+reason+"`") {
			t.Errorf("docs/kinds/index.md does not say why the reason %s does not occur", reason)
		}
	}
	for _, reason := range constants {
		if !named[reason] {
			t.Errorf("the reason %s is neither said to occur nor not to", reason)
		}
	}
	if len(constants) < 50 {
		t.Fatalf("found %d constants", len(constants))
	}
}

// reasonConstants returns what the API of sources calls its reasons.
func reasonConstants(t *testing.T) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/source/v1/conditions.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || strings.HasSuffix(spec.Names[0].Name, "Condition") {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok {
			if out[spec.Names[0].Name], err = strconv.Unquote(value.Value); err != nil {
				t.Fatal(err)
			}
		}
		return true
	})
	return out
}

// sourceTexts returns the source-controller and its tests, without comments.
func sourceTexts(t *testing.T) (code, tests string) {
	t.Helper()
	files(t, func(path string, f *ast.File, set *token.FileSet) {
		if !strings.HasPrefix(path, "source-controller/") {
			return
		}
		var out strings.Builder
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					out.WriteString(x.Name + "." + n.Sel.Name + "\n")
				}
			case *ast.BasicLit:
				out.WriteString(n.Value + "\n")
			}
			return true
		})
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/sourcetest/") {
			tests += out.String()
		} else {
			code += out.String()
		}
	})
	return code, tests
}

// mentions tells whether a text has the reason, or one of its constants.
func mentions(text string, constants map[string]string, reason string) bool {
	if regexp.MustCompile(`"[^"\n]*\b` + reason + `\b`).MatchString(text) {
		return true
	}
	for name, value := range constants {
		if value == reason && strings.Contains(text, "sourcev1."+name+"\n") {
			return true
		}
	}
	return reason == "FeatureGateDisabled" && strings.Contains(text, "meta.FeatureGateDisabledReason\n")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
