package tagdb_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
)

func TestSince(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first, _ := put(t, s, "a", "c", "d")
	if _, known := s.Since("ns", "app", first.Digest); !known {
		t.Error("the present set is not known")
	}
	second, _ := put(t, s, "a", "b", "d", "e")
	got, known := s.Since("ns", "app", first.Digest)
	want := tagdb.Delta{From: first.Digest, To: second.Digest, Added: []string{"b", "e"}, Removed: []string{"c"}}
	if diff := cmp.Diff(want, got); diff != "" || !known {
		t.Error(diff)
	}
	third, _ := put(t, s, "a")
	if _, known := s.Since("ns", "app", first.Digest); known {
		t.Error("a difference over two changes is made up")
	}
	many := make([]string, 1_002)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	put(t, s, append(many, "a")...)
	if _, known := s.Since("ns", "app", third.Digest); known {
		t.Error("a very large difference is kept")
	}
	fourth, _ := put(t, s, "a")
	if _, _, err := s.Put("ns", "app", "ghcr.io/org/other", []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if _, known := s.Since("ns", "app", fourth.Digest); known {
		t.Error("another image differs only by tags")
	}
	if err := s.Remove("ns", "app"); err != nil {
		t.Fatal(err)
	}
	if _, known := s.Since("ns", "app", fourth.Digest); known {
		t.Error("what was removed is known")
	}
}
