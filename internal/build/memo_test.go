package build

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/artifact"
)

// A change of a large source has the parts built that it touches, and no others,
// wherever it is.
func TestPartsAreKept(t *testing.T) {
	var all, more strings.Builder
	files := map[string][]byte{}
	for i := range splitObjects {
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n", i)
		files[fmt.Sprintf("app/d%d.yaml", i)] = fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d%d}\n", i)
	}
	files["app/all.yaml"] = []byte(all.String())
	kept := New(Options{})
	build := func(e *Engine, change map[string][]byte, s Spec) *Result {
		t.Helper()
		s.Path = "app"
		result, err := e.Build(t.Context(), artifact.NewTree(files, nil).With(change), s)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	build(kept, nil, Spec{})
	if first := kept.State(); first.Parts < 2*splitObjects/partObjects/2 || first.PartBytes == 0 {
		t.Errorf("a build of %d objects leaves %+v", 2*splitObjects, first)
	}
	fmt.Fprintf(&more, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\n%s", all.String())
	for title, change := range map[string]map[string][]byte{
		"a file changed":                   {"app/d7.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d7}\ndata: {a: b}\n")},
		"a file came":                      {"app/d.yaml": []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n")},
		"a file went":                      {"app/d7.yaml": []byte("# nothing\n")},
		"an object came at the head":       {"app/all.yaml": []byte(more.String())},
		"an object changed among the rest": {"app/all.yaml": bytes.Replace([]byte(all.String()), []byte("c77}"), []byte("c77, labels: {a: b}}"), 1)},
	} {
		before := kept.State().Parts
		got, want := build(kept, change, Spec{}), build(New(Options{CacheBytes: -1}), change, Spec{})
		if got.Cached || got.Digest != want.Digest {
			t.Errorf("%s: the result is another one than without the parts from before", title)
		}
		if title == "a file went" {
			continue // what is no object is not for parts: it is built whole
		}
		if n := kept.State().Parts - before; n < 1 || n > 4 {
			t.Errorf("%s: %d parts were built", title, n)
		}
	}

	// Another spec is another build, and what is decrypted is kept nowhere here.
	before := kept.State().Parts
	if got := build(kept, nil, Spec{CommonLabels: map[string]string{"a": "b"}}); !bytes.Contains(got.Objects[3].JSON, []byte(`"a":"b"`)) {
		t.Errorf("a label is missing: %s", got.Objects[3].JSON)
	}
	if kept.State().Parts == before {
		t.Error("another spec took the parts of the first one")
	}
	as := func(_ context.Context, _ string, data []byte) ([]byte, error) { return data, nil }
	object := func(_ context.Context, data []byte) ([]byte, error) { return data, nil }
	sealed := New(Options{})
	build(sealed, nil, Spec{Decrypt: &Decryption{Key: "k", File: as, Object: object}})
	if n := sealed.State().Parts; n != 0 {
		t.Errorf("%d parts are kept that were decrypted", n)
	}
}

// Sources that differ in little share what they can, and no more than that: each
// comes out as a whole build does.
func TestKeptPartsAreExact(t *testing.T) {
	m := newMemo(1 << 20)
	split, r := 0, rand.New(rand.NewPCG(1, 2))
	for seed := range 16 {
		s := layered(seed)
		for range 4 {
			parts, whole, ok := both(t, s.files, Spec{Path: s.dir}, 2, m)
			if !ok {
				break
			}
			if split++; parts != whole {
				t.Errorf("%s: (-whole +parts)\n%s", s.name, cmp.Diff(whole, parts))
			}
			names := slices.Sorted(maps.Keys(s.files))
			name := names[r.IntN(len(names))]
			s.files = maps.Clone(s.files)
			s.files[name] = bytes.Replace(s.files[name], []byte("one0"), []byte("one7"), 1+r.IntN(2))
		}
	}
	if kept := m.order.Len(); split < 20 || kept < split {
		t.Errorf("%d sources were built in parts, of which %d are kept; the test shows little", split, kept)
	}
}

// What is kept stays within its bound, and what was not asked for goes first.
func TestMemo(t *testing.T) {
	m := newMemo(3 * 400)
	pieces := func(n int) []piece {
		return []piece{{ID: fmt.Sprint(n), From: "x", Objects: []Object{{Name: fmt.Sprint(n), JSON: []byte(`{"a":1}`), Sum: 1<<63 + 7}}}}
	}
	for n := range 4 {
		m.put(key{byte(n)}, pieces(n))
		if m.used > m.max {
			t.Fatalf("%d bytes are kept, %d are allowed", m.used, m.max)
		}
		if d := cmp.Diff(pieces(0), m.get(key{0}), cmp.AllowUnexported(piece{})); d != "" {
			t.Fatalf("after %d more (-want +got):\n%s", n, d)
		}
	}
	if m.get(key{1}) != nil || m.get(key{3}) == nil {
		t.Error("not the oldest one went")
	}
	m.put(key{9}, []piece{{From: strings.Repeat("0123456789abcdef", 1000) + fmt.Sprint(rand.Perm(2000))}})
	if m.get(key{9}) != nil || m.get(key{0}) == nil {
		t.Error("one that is larger than all room there is pushed the others out")
	}
}
