package marker_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/weirhq/weir/image-automation-controller/internal/marker"
)

var update = flag.Bool("update", false, "rewrite what the corpus expects")

// corpusValues are the policies that every case of the corpus may name.
func corpusValues() marker.Values {
	values := marker.Values{}
	values.Add("apps", "web", marker.Ref{Name: "ghcr.io/org/web", Tag: "1.2.0"})
	values.Add("apps", "api", marker.Ref{Name: "registry.local:5000/api", Tag: "v2", Digest: "sha256:" + strings.Repeat("ab", 32)})
	values.Add("apps", "number", marker.Ref{Name: "ghcr.io/org/number", Tag: "1.10"})
	values.Add("apps", "build", marker.Ref{Name: "ghcr.io/org/build", Tag: "20261121"})
	values.Add("apps", "sha", marker.Ref{Name: "ghcr.io/org/sha", Tag: "12e5678"})
	return values
}

// encode turns the readable text of a case into the bytes it stands for, as the
// directives in the comment of its archive say.
func encode(directives string, text []byte) []byte {
	for directive := range strings.FieldsSeq(directives) {
		switch directive {
		case "@crlf":
			text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
		case "@cr":
			text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r"))
		case "@bom":
			text = append([]byte("\xef\xbb\xbf"), text...)
		case "@nofinalnewline":
			text = bytes.TrimSuffix(text, []byte("\n"))
		case "@latin1":
			text = bytes.ReplaceAll(text, []byte("é"), []byte("\xe9"))
		}
	}
	return text
}

// decode is the inverse of encode.
func decode(directives string, text []byte) []byte {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	if strings.Contains(directives, "@latin1") {
		text = bytes.ReplaceAll(text, []byte("\xe9"), []byte("é"))
	}
	if strings.Contains(directives, "@nofinalnewline") {
		text = append(text, '\n')
	}
	return text
}

// TestCorpus edits each testdata/*.txtar: "before" becomes "after", the list of
// changes is "changes", or the edit fails with the text in "error".
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("found %d cases (%v), want at least 40", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]byte{}
			for _, f := range archive.Files {
				want[f.Name] = f.Data
			}
			before := encode(string(archive.Comment), want["before"])
			result, err := marker.Edit(before, corpusValues())
			got := []txtar.File{{Name: "before", Data: want["before"]}}
			if err != nil {
				got = append(got, txtar.File{Name: "error", Data: []byte(err.Error() + "\n")})
				if !bytes.Equal(result.Content, before) {
					t.Error("a refused edit changed the content")
				}
			} else {
				after := decode(string(archive.Comment), result.Content)
				if !bytes.Equal(encode(string(archive.Comment), after), result.Content) {
					t.Errorf("line endings or encoding changed: %q", result.Content)
				}
				got = append(got, txtar.File{Name: "after", Data: after}, txtar.File{Name: "changes", Data: describe(result)})
				checkRest(t, before, result)
				checkAgain(t, result)
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: got}), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(&txtar.Archive{Files: archive.Files})), string(txtar.Format(&txtar.Archive{Files: got}))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func describe(result marker.Result) []byte {
	var b bytes.Buffer
	for _, c := range result.Changes {
		fmt.Fprintf(&b, "%d %s: %q -> %q", c.Line, c.Setter, c.Old, c.New)
		if c.Object != (marker.Object{}) {
			fmt.Fprintf(&b, " in %s %s %s/%s", c.Object.APIVersion, c.Object.Kind, c.Object.Namespace, c.Object.Name)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// checkRest asserts without the help of a parser that exactly the lines with a
// reported change differ.
func checkRest(t *testing.T, before []byte, result marker.Result) {
	t.Helper()
	a, b := bytes.SplitAfter(before, []byte("\n")), bytes.SplitAfter(result.Content, []byte("\n"))
	if len(a) != len(b) {
		t.Fatalf("%d lines became %d", len(a), len(b))
	}
	old := map[int][]marker.Change{}
	for _, c := range result.Changes {
		old[c.Line-1] = append(old[c.Line-1], c)
	}
	if len(a) == 1 {
		return // a file that ends its lines with CR alone
	}
	for i := range a {
		if bytes.Equal(a[i], b[i]) != (len(old[i]) == 0) {
			t.Errorf("line %d: %q became %q, with %d changes reported", i+1, a[i], b[i], len(old[i]))
		}
	}
}

// checkAgain asserts that a second run finds nothing to do.
func checkAgain(t *testing.T, result marker.Result) {
	t.Helper()
	again, err := marker.Edit(result.Content, corpusValues())
	if err != nil || len(again.Changes) > 0 || !bytes.Equal(again.Content, result.Content) {
		t.Errorf("the second edit is not quiet: %v %v", again.Changes, err)
	}
}
