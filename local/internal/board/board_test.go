package board

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPlainOutput writes to a file, which is no terminal.
func TestPlainOutput(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	b := New(f)
	b.Title("Title")
	b.Note("%d notes with \x1b[31mcolour", 1)
	rows, end := b.Rows(time.Now(), "first", "second")
	rows[0].Update("not shown")
	rows[0].Done("done\nand more")
	rows[1].Fail("no")
	end()
	b.Quote([]string{"said \x07"})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`\d\.\d{3}s`).ReplaceAllString(string(data), "0.000s")
	want := "\nTitle\n" +
		"  1 notes with ?[31mcolour\n" +
		"     0.000s  ok      first                          done\n" +
		"     0.000s  FAILED  second                         no\n" +
		"    | said ?\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}
