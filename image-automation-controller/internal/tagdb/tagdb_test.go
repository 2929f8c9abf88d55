package tagdb_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
)

func open(t *testing.T, dir string) *tagdb.Store {
	t.Helper()
	s, err := tagdb.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *tagdb.Store, tags ...string) (tagdb.Set, bool) {
	t.Helper()
	set, changed, err := s.Put("ns", "app", "ghcr.io/org/app", tags)
	if err != nil {
		t.Fatal(err)
	}
	return set, changed
}

func TestPutAndTags(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, _, err := s.Tags("ns", "app"); !errors.Is(err, tagdb.ErrAbsent) {
		t.Fatalf("got %v, want ErrAbsent", err)
	}
	set, changed := put(t, s, "b", "a", "b", "c")
	if !changed || set.Count != 3 || set.Image != "ghcr.io/org/app" || !strings.HasPrefix(set.Digest, "sha256:") {
		t.Errorf("got %+v, changed %v", set, changed)
	}
	for _, store := range []*tagdb.Store{s, open(t, dir)} { // as it is, and after a restart
		tags, read, err := store.Tags("ns", "app")
		if err != nil || read != set {
			t.Fatalf("got %+v, %v; want %+v", read, err, set)
		}
		if diff := cmp.Diff([]string{"a", "b", "c"}, tags); diff != "" {
			t.Error(diff)
		}
		if known, err := store.Set("ns", "app"); err != nil || known != set {
			t.Errorf("got %+v, %v", known, err)
		}
	}
	if err := s.Remove("ns", "app"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set("ns", "app"); !errors.Is(err, tagdb.ErrAbsent) {
		t.Errorf("got %v after Remove, want ErrAbsent", err)
	}
	if err := s.Remove("ns", "app"); err != nil {
		t.Errorf("a second Remove fails: %v", err)
	}
}

func TestSameSetIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "a", "b")
	name := filepath.Join(dir, "ns", "app.tags")
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range []*tagdb.Store{s, open(t, dir)} {
		if _, changed := put(t, store, "b", "a"); changed {
			t.Error("the same set counts as changed")
		}
	}
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
	if _, changed := put(t, s, "a"); !changed {
		t.Error("another set counts as unchanged")
	}
	if empty, changed := put(t, s); !changed || empty.Count != 0 {
		t.Errorf("an empty set: %+v, changed %v", empty, changed)
	}
	if tags, _, err := s.Tags("ns", "app"); err != nil || len(tags) != 0 {
		t.Errorf("got %v, %v", tags, err)
	}
}

// TestDamage changes, cuts and empties the file; each time the tags count as
// absent and the next Put heals them.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "a", "b")
	name := filepath.Join(dir, "ns", "app.tags")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if tags, _, err := s.Tags("ns", "app"); !errors.Is(err, tagdb.ErrAbsent) {
			t.Fatalf("cut at %d: got %v, %v", cut, tags, err)
		}
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(whole), "\nb\n", "\nx\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Tags("ns", "app"); !errors.Is(err, tagdb.ErrAbsent) {
		t.Fatalf("got %v, want ErrAbsent", err)
	}
	if _, changed := put(t, s, "a", "b"); !changed {
		t.Error("a damaged file was not written anew")
	}
	if tags, _, err := s.Tags("ns", "app"); err != nil || len(tags) != 2 {
		t.Errorf("got %v, %v", tags, err)
	}
}

func TestInterruptedWriteIsRemoved(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir), "a")
	left := filepath.Join(dir, "ns", "app.tags_tmp")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
	if tags, _, err := s.Tags("ns", "app"); err != nil || len(tags) != 1 {
		t.Errorf("got %v, %v", tags, err)
	}
}

func TestPathsStayInside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "db"))
	if _, _, err := s.Put("..", "app", "x/y", []string{"a"}); err == nil {
		t.Error("a namespace of two dots was accepted")
	}
	if _, err := os.Stat(filepath.Join(dir, "app.tags")); err == nil {
		t.Error("a file was written outside")
	}
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				name := fmt.Sprintf("app%d", i%3)
				if _, _, err := s.Put("ns", name, "x/y", []string{fmt.Sprint(n)}); err != nil {
					t.Error(err)
				}
				if tags, set, err := s.Tags("ns", name); err != nil || len(tags) != set.Count {
					t.Errorf("got %v, %+v, %v", tags, set, err)
				}
			}
		})
	}
	wg.Wait()
}
