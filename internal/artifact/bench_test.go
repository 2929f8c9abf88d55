package artifact

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const benchFiles = 15_000

// folders is a Source in memory with its listings at hand, as a Git tree has them.
type folders struct {
	list map[string][]Entry
	data map[string]string
}

func (f *folders) ID() string                             { return "" }
func (f *folders) ReadDir(folder string) ([]Entry, error) { return f.list[folder], nil }
func (f *folders) Open(p string, _ Entry) (io.ReadCloser, int64, error) {
	return io.NopCloser(strings.NewReader(f.data[p])), int64(len(f.data[p])), nil
}

func (f *folders) put(p, data string) {
	folder, name := path.Split(p)
	folder = strings.TrimSuffix(folder, "/")
	e := Entry{Name: name, ID: digest.FromString(data).String()}
	for i, old := range f.list[folder] {
		if old.Name == name {
			f.list[folder][i] = e
			f.data[p] = data
			return
		}
	}
	f.list[folder] = append(f.list[folder], e)
	f.data[p] = data
}

func benchSource() *folders {
	f := &folders{list: map[string][]Entry{}, data: map[string]string{}}
	for i := range 150 {
		app := fmt.Sprintf("app-%d", i)
		f.list["apps"] = append(f.list["apps"], Entry{Name: app, Dir: true})
		for j := range benchFiles / 150 {
			f.put(fmt.Sprintf("apps/%s/file-%d.yaml", app, j), strings.Repeat(fmt.Sprintf("key%d: value %d of %d\n", j, i*j, i), 60))
		}
	}
	f.list[""] = []Entry{{Name: "apps", Dir: true}}
	return f
}

func BenchmarkPack(b *testing.B) {
	src := benchSource()
	for b.Loop() {
		mustPack(b, newStore(b, StoreOptions{}), src, PackOptions{})
	}
}

func BenchmarkPackOneChanged(b *testing.B) {
	src, s := benchSource(), newStore(b, StoreOptions{})
	last := mustPack(b, s, src, PackOptions{})
	i := 0
	for b.Loop() {
		i++
		src.put("apps/app-7/file-7.yaml", fmt.Sprint(i))
		last = mustPack(b, s, src, PackOptions{Previous: last.Digest})
	}
}

func BenchmarkUnpack(b *testing.B) {
	s := newStore(b, StoreOptions{})
	blob := mustPack(b, s, benchSource(), PackOptions{})
	data, err := os.ReadFile(s.blobPath(digest.Digest(blob.Digest)))
	if err != nil {
		b.Fatal(err)
	}
	f, err := scratch(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var root *dir
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		if root, _, err = unpack(bytes.NewReader(data), f, limits{1 << 30, 1 << 20}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(retained(func() { root = nil }))/benchFiles, "B/file")
	runtime.KeepAlive(root)
}

// retained tells how many bytes are free after drop that were not before.
func retained(drop func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	drop()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return before.HeapAlloc - after.HeapAlloc
}

func BenchmarkStat(b *testing.B) {
	tree := NewTree(map[string][]byte{"apps/a/b/deploy.yaml": []byte("x"), "apps/a/c": nil, "z": nil}, nil)
	for b.Loop() {
		if info, err := tree.Stat("/apps/a/b/deploy.yaml"); err != nil || info.Kind != File {
			b.Fatal(info, err)
		}
	}
}
