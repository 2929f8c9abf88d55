package gitrepo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/weirhq/weir/internal/gitserver"
)

// indexed puts a pack into a mirror of its own.
func indexed(t *testing.T, pack []byte, lim limits) (*mirror, error) {
	t.Helper()
	m := newMirror(t.TempDir())
	must(t, m.ensure(t.Context()))
	lim.heavy = make(chan struct{}, 1)
	err := m.ingest(t.Context(), bytes.NewReader(pack), lim)
	if left, _ := os.ReadDir(m.tempDir()); len(left) > 0 {
		t.Errorf("%d temporary files stay", len(left))
	}
	return m, err
}

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(b)
	return b
}

// The index of a pack is, byte for byte, the one that git makes, and every object is
// read as it was hashed: with long chains of deltas, with large files that are deltas of
// each other, and with deltas by offset and by reference.
func TestPacksAsGitHasThem(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{})
	text, all := manifest(rand.New(rand.NewSource(1)), 3000), map[string]string{}
	for i := range 100 {
		text = text[:29*i] + fmt.Sprint("edit ", i, "\n") + text[29*i:]
		all[path(i)] = text
	}
	large := string(noise(maxInMemory + 1000))
	for i := range 3 {
		all[fmt.Sprintf("large/%d", i)] = large[:maxInMemory/2] + fmt.Sprint(i) + large[maxInMemory/2:]
	}
	must(t, s.Init("packed", all))
	for _, offsets := range []string{"true", "false"} {
		t.Run("offsets "+offsets, func(t *testing.T) {
			_, err := s.Git("packed", "-c", "repack.usedeltabaseoffset="+offsets, "repack", "-a", "-d", "-q", "-f")
			must(t, err)
			found, err := filepath.Glob(filepath.Join(s.Dir("packed"), "objects/pack/*.pack"))
			must(t, err)
			data, err := os.ReadFile(found[0])
			must(t, err)
			m, err := indexed(t, data, limits{pack: 1 << 30, object: 1 << 30})
			must(t, err)
			want, err := os.ReadFile(strings.TrimSuffix(found[0], ".pack") + ".idx")
			must(t, err)
			index := filepath.Join(m.packDir(), strings.TrimSuffix(filepath.Base(found[0]), ".pack")+".idx")
			if got, err := os.ReadFile(index); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the index has %d bytes (%v), git's has %d, and they differ", len(got), err, len(want))
			}
			objects, err := listed(index)
			must(t, err)
			st, err := m.storeWith(64 << 10) // far too small
			must(t, err)
			defer st.Close()
			deltas := 0
			for _, o := range objects {
				read, err := st.whole(o.hash)
				must(t, err)
				if read.Hash() != o.hash {
					t.Errorf("object %s is read as %s", o.hash, read.Hash())
				}
				i, h, err := inflaterAt(st.packs[0].file, o.at)
				must(t, err)
				i.release()
				if h.kind.IsDelta() {
					deltas++
				}
				if h.kind == plumbing.OFSDeltaObject && offsets == "false" || h.kind == plumbing.REFDeltaObject && offsets == "true" {
					t.Errorf("the pack has deltas of kind %s", h.kind)
				}
			}
			if deltas < 50 {
				t.Errorf("only %d of %d objects are deltas: the test shows nothing", deltas, len(objects))
			}
		})
	}
}

// Large objects on the way to others lie in a file, of bounded size.
func TestDeltasOfLargeDeltas(t *testing.T) {
	t.Parallel()
	first := noise(maxInMemory + 1000)
	pack, last, size := raw(plumbing.BlobObject, uint64(len(first)), nil, first), 0, len(first)
	const deep = 9
	for range deep {
		at := len(pack)
		d := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(size)), uint64(size+1))
		d = append(d, 0xf0, byte(size), byte(size>>8), byte(size>>16), 1, 'x')
		pack = append(pack, raw(plumbing.OFSDeltaObject, uint64(len(d)), back(at-last), d)...)
		last, size = at, size+1
	}
	pack = seal(1+deep, pack)
	m, err := indexed(t, pack, limits{pack: 1 << 30, object: 16 << 20})
	must(t, err)
	s, err := m.store()
	must(t, err)
	defer s.Close()
	want := append(bytes.Clone(first), strings.Repeat("x", deep)...)
	got, err := s.read(plumbing.BlobObject, thing{plumbing.BlobObject, want}.hash(), 16<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes (%v), want %d", len(got), err, len(want))
	}
	_, err = indexed(t, pack, limits{pack: 1 << 30, object: maxInMemory + 2000})
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "on the way") {
		t.Errorf("more than may be on the way: %v", err)
	}
}

// A base of a thin pack may be in the mirror, and what is made of it a base too.
func TestThinPacks(t *testing.T) {
	old := thing{plumbing.BlobObject, []byte("abcd")}
	next := thing{plumbing.BlobObject, []byte("abcdx")}
	last := thing{plumbing.BlobObject, []byte("abcdxx")}
	grow := func(n int, base plumbing.Hash) []byte {
		d := []byte{byte(n), byte(n + 1), 0x90, byte(n), 1, 'x'}
		return raw(plumbing.REFDeltaObject, uint64(len(d)), base[:], d)
	}
	for title, order := range map[string][][]byte{
		"bases first": {grow(4, old.hash()), grow(5, next.hash())},
		"bases last":  {grow(5, next.hash()), grow(4, old.hash())},
	} {
		lim := limits{pack: 1 << 20, object: 1 << 20, heavy: make(chan struct{}, 1)}
		m, err := indexed(t, packOf(old), lim)
		must(t, err)
		must(t, m.ingest(t.Context(), bytes.NewReader(seal(2, bytes.Join(order, nil))), lim))
		s, err := m.store()
		must(t, err)
		for _, o := range []thing{old, next, last} {
			if got, err := s.read(o.kind, o.hash(), 100); err != nil || !bytes.Equal(got, o.data) {
				t.Errorf("%s: %q, %v; want %q", title, got, err, o.data)
			}
		}
		for _, p := range s.packs {
			if n := p.index.count(); n != 1 && n != 3 {
				t.Errorf("%s: a pack of %d objects, want one that stands alone", title, n)
			}
		}
		s.Close()
	}
}

// Whatever byte of a pack changes on the disk: what is read is what was stored, or an
// error, and nothing else happens.
func TestDamagedPacks(t *testing.T) {
	t.Parallel()
	blob := thing{plumbing.BlobObject, []byte(strings.Repeat("some text, ", 20))}
	d := copies(len(blob.data), 2*len(blob.data))
	first, h := raw(blob.kind, uint64(len(blob.data)), nil, blob.data), blob.hash()
	second := raw(plumbing.OFSDeltaObject, uint64(len(d)), back(len(first)), d)
	d = copies(len(blob.data), 3*len(blob.data))
	pack := seal(3, bytes.Join([][]byte{first, second, raw(plumbing.REFDeltaObject, uint64(len(d)), h[:], d)}, nil))
	m, err := indexed(t, pack, limits{pack: 1 << 20, object: 1 << 20})
	must(t, err)
	names, err := m.packs()
	must(t, err)
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	failed := 0
	for at := range pack[:len(pack)-20] {
		for _, flip := range []byte{1, 0x10, 0x80} {
			_, err := f.WriteAt([]byte{pack[at] ^ flip}, int64(at))
			must(t, err)
			s, err := m.store()
			must(t, err)
			for n := 1; n <= 3; n++ {
				want := thing{blob.kind, bytes.Repeat(blob.data, n)}
				got, err := s.read(blob.kind, want.hash(), 1<<20)
				if err == nil && !bytes.Equal(got, want.data) {
					t.Errorf("byte %d: read %q", at, got)
				}
				if err != nil {
					failed++
				}
			}
			must(t, s.Close())
		}
		_, err = f.WriteAt(pack[at:at+1], int64(at))
		must(t, err)
	}
	if failed == 0 {
		t.Error("nothing was found")
	}
}
