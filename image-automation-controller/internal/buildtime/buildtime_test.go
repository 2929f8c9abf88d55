package buildtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFile asserts that what a crash has left in the file is never read as
// another time, and that what is written afterwards is found again.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "built")
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	c, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.note(digest("a"), 1_700_000_000); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.note(digest("b"), 1_800_000_000); err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for end := len(whole); end <= len(both); end++ {
		if err := os.WriteFile(path, both[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		at, known := again.times[digest("b")]
		if again.times[digest("a")] != 1_700_000_000 || known && at != 1_800_000_000 || known != (end == len(both)) {
			t.Fatalf("cut after %d bytes: %v", end, again.times)
		}
		if err := again.note(digest("c"), 5); err != nil {
			t.Fatal(err)
		}
		if once, err := Open(path, nil); err != nil || once.times[digest("c")] != 5 || len(once.times) != len(again.times) {
			t.Fatalf("what was written after a crash is lost: %v, %v", once.times, err)
		}
	}
}

// TestFileIsBounded asserts that the file does not grow for ever.
func TestFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "built")
	c, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxKnown {
		c.times[fmt.Sprintf("sha256:%064x", i)] = 1
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.note("sha256:"+strings.Repeat("f", 64), 7); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 200 || len(c.times) != 1 {
		t.Errorf("%d digests, file %v, %v", len(c.times), info, err)
	}
}
