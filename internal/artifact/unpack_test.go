package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestUnpackRefuses(t *testing.T) {
	many := make([]entry, 200)
	for i := range many {
		many[i] = entry{name: fmt.Sprintf("f%d", i)}
	}
	tests := map[string]struct {
		entries []entry
		want    error
		text    string
	}{
		"climbing name":        {[]entry{{name: "a/../../b"}}, ErrEscape, `"a/../../b"`},
		"inner dots":           {[]entry{{name: "a/../b"}}, ErrEscape, ""},
		"absolute name":        {[]entry{{name: "/etc/passwd"}}, ErrArchive, `"/etc/passwd"`},
		"hard link":            {[]entry{{name: "a"}, {name: "b", kind: tar.TypeLink, link: "a"}}, ErrArchive, `"b"`},
		"device":               {[]entry{{name: "dev/null", kind: tar.TypeChar}}, ErrArchive, "dev/null"},
		"block device":         {[]entry{{name: "sda", kind: tar.TypeBlock}}, ErrArchive, "sda"},
		"pipe":                 {[]entry{{name: "p", kind: tar.TypeFifo}}, ErrArchive, `"p"`},
		"bomb":                 {[]entry{{name: "zeros", data: strings.Repeat("\x00", 2<<20)}}, ErrTooLarge, "unpacks to more than 1048576 bytes"},
		"bomb in small files":  {[]entry{{name: "a", data: strings.Repeat("a", 600<<10)}, {name: "b", data: strings.Repeat("b", 600<<10)}}, ErrTooLarge, ""},
		"many files":           {many, ErrTooLarge, "more than 100 entries"},
		"long path":            {[]entry{{name: strings.Repeat("0123456789/", 100) + "f"}}, ErrTooLarge, "longer than 1024 bytes"},
		"deep path":            {[]entry{{name: strings.Repeat("a/", 64) + "f"}}, ErrTooLarge, "deeper than 64"},
		"long link":            {[]entry{{name: "l", kind: tar.TypeSymlink, link: strings.Repeat("a", 1025)}}, ErrArchive, `"l"`},
		"file as a folder":     {[]entry{{name: "a"}, {name: "a/b"}}, ErrArchive, `"/a"`},
		"folder as a file":     {[]entry{{name: "a/b"}, {name: "a"}}, ErrArchive, `"/a"`},
		"file below a link":    {[]entry{{name: "a", kind: tar.TypeSymlink, link: "/tmp"}, {name: "a/b"}}, ErrArchive, `"/a"`},
		"root as a file":       {[]entry{{name: "."}}, ErrArchive, "root"},
		"global headers bound": {manyGlobals(), ErrTooLarge, "more than 100 entries"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data, _ := archive(t, tt.entries...)
			var out bytes.Buffer
			_, _, err := unpack(bytes.NewReader(data), &out, limits{bytes: 1 << 20, files: 100})
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("unpack fails with %v, want %v naming %s", err, tt.want, tt.text)
			}
			if out.Len() > 1<<20 {
				t.Errorf("%d bytes were written before the end", out.Len())
			}
		})
	}
}

func manyGlobals() []entry {
	out := make([]entry, 101)
	for i := range out {
		out[i] = entry{name: "g", kind: tar.TypeDir}
	}
	return out
}

func TestUnpackDamaged(t *testing.T) {
	whole, _ := archive(t, entry{name: "a", data: "some content"}, entry{name: "b", data: "more"})
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0xff
	for name, data := range map[string][]byte{
		"empty": nil, "not gzip": []byte("hello"), "cut": whole[:len(whole)/2], "flipped": flipped,
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := unpack(bytes.NewReader(data), io.Discard, limits{1 << 20, 100}); !errors.Is(err, ErrArchive) {
				t.Errorf("unpack fails with %v, want %v", err, ErrArchive)
			}
		})
	}
}

func TestUnpackDiskFull(t *testing.T) {
	data, _ := archive(t, entry{name: "a", data: strings.Repeat("x", 1<<20)})
	_, _, err := unpack(bytes.NewReader(data), fullDisk{}, limits{1 << 30, 100})
	if !errors.Is(err, errFull) || errors.Is(err, ErrArchive) {
		t.Errorf("unpack fails with %v, want the disk's error alone", err)
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func FuzzUnpack(f *testing.F) {
	data, _ := archive(f,
		entry{name: "./", kind: tar.TypeDir}, entry{name: "a/b.yaml", data: "kind: A", mode: 0o755},
		entry{name: "l", kind: tar.TypeSymlink, link: "a/b.yaml"}, entry{name: "d/", kind: tar.TypeDir})
	f.Add(data)
	small, _ := archive(f, entry{name: "a", data: "b"})
	f.Add(small)
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 16
		var out bytes.Buffer
		root, size, err := unpack(bytes.NewReader(data), &out, limits{bytes: most, files: 50})
		if out.Len() > most {
			t.Fatalf("%d bytes were written, %d are allowed", out.Len(), most)
		}
		if err != nil {
			return
		}
		if size != int64(out.Len()) {
			t.Fatalf("%d bytes are told, %d were written", size, out.Len())
		}
		check(t, root, "/", out.Bytes())
	})
}

// check holds every entry of an index against the content that it points into.
func check(t *testing.T, d *dir, at string, content []byte) {
	for i, name := range d.names {
		n := d.nodes[i]
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			t.Fatalf("bad name %q in %q", name, at)
		}
		if i > 0 && d.names[i-1] >= name {
			t.Fatalf("%q is not sorted: %q", at, d.names)
		}
		switch n.kind {
		case Dir:
			check(t, n.more.(*dir), at+name+"/", content)
		case File:
			if n.off < 0 || n.off+n.size > int64(len(content)) {
				t.Fatalf("%q lies at %d+%d of %d bytes", at+name, n.off, n.size, len(content))
			}
			if memory(content[n.off:n.off+n.size]).sum != n.sum {
				t.Fatalf("the sum of %q is wrong", at+name)
			}
		}
	}
}
