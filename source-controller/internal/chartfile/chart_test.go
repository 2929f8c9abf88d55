package chartfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

const metadata = "apiVersion: v2\nname: app\nversion: 1.0.0\n"

// archive makes a tar.gz of headers, each with content of its size.
func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: 0o644, Size: int64(len(e.data)), Linkname: e.link}
		if e.kind != 0 {
			h.Typeflag, h.Size = e.kind, 0
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(tw, e.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type entry struct {
	name, data string
	kind       byte
	link       string
}

// TestHostile holds archives that are meant to hurt.
func TestHostile(t *testing.T) {
	chart := entry{name: "app/Chart.yaml", data: metadata}
	many := make([]entry, 0, maxFiles+2)
	for i := range maxFiles + 2 {
		many = append(many, entry{name: fmt.Sprintf("app/f%d", i)})
	}
	aliases := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 12 {
		aliases += fmt.Sprintf("%c: &%[1]c [*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c]\n", 'b'+i, 'a'+i)
	}
	for name, c := range map[string]struct {
		entries []entry
		text    string
	}{
		"up":              {[]entry{chart, {name: "app/../../etc/passwd", data: "x"}}, "leads out"},
		"absolute":        {[]entry{chart, {name: "/etc/passwd", data: "x"}}, "not in the chart's folder"},
		"above":           {[]entry{chart, {name: "../app/x", data: "x"}}, "not in the chart's folder"},
		"other separator": {[]entry{chart, {name: `app/..\..\x`, data: "x"}}, "leads out"},
		"a drive":         {[]entry{chart, {name: "app/c:/x", data: "x"}}, "leads out"},
		"a link":          {[]entry{chart, {name: "app/x", kind: tar.TypeSymlink, link: "/etc/passwd"}}, "link or a special file"},
		"a hard link":     {[]entry{chart, {name: "app/x", kind: tar.TypeLink, link: "app/Chart.yaml"}}, "link or a special file"},
		"a device":        {[]entry{chart, {name: "app/x", kind: tar.TypeChar}}, "link or a special file"},
		"twice":           {[]entry{chart, chart}, "twice"},
		"too many":        {many, "more than"},
		"a large file":    {[]entry{chart, {name: "app/x", data: strings.Repeat("x", DefaultMaxFile+1)}}, "larger than allowed"},
		"no metadata":     {[]entry{{name: "app/values.yaml", data: "a: b"}}, "Chart.yaml"},
		"a bad name":      {[]entry{{name: "app/Chart.yaml", data: "apiVersion: v2\nname: ../up\nversion: 1.0.0\n"}}, "name"},
		"aliases":         {[]entry{{name: "app/Chart.yaml", data: metadata + aliases}}, "Chart.yaml"},
		"nothing":         {nil, "Chart.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			c2, err := Read(bytes.NewReader(archive(t, c.entries...)), Limits{})
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, %v; want an error with %q", c2, err, c.text)
			}
			if !errors.Is(err, ErrChart) {
				t.Errorf("%v is not ErrChart", err)
			}
		})
	}
}

// TestBomb asserts that an archive of zeros, small as it is, costs bounded memory.
func TestBomb(t *testing.T) {
	var entries []entry
	for i := range 40 { // 160 MiB in all, of 100 MiB that are allowed
		entries = append(entries, entry{name: fmt.Sprintf("app/f%d", i), data: strings.Repeat("\x00", 4<<20)})
	}
	data := archive(t, entries...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	_, err := Read(bytes.NewReader(data), Limits{})
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d bytes that unpack to 160 MiB: %v", len(data), err)
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 400<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// TestValueAliases asserts that a document of aliases does not become what it stands for.
func TestValueAliases(t *testing.T) {
	c, err := Read(bytes.NewReader(archive(t, entry{name: "app/Chart.yaml", data: metadata})), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 12 {
		bomb += fmt.Sprintf("%c: &%[1]c [*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c,*%[2]c]\n", 'b'+i, 'a'+i)
	}
	if err := c.SetValues([][]byte{[]byte("a: b\n"), []byte(bomb)}); err == nil {
		t.Error("values that expand to 10^13 entries are accepted")
	}
}

// FuzzRead asserts that no archive panics, and that what is read can be packaged and
// is the same chart when it is read again.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, entry{name: "app/Chart.yaml", data: metadata}, entry{name: "app/values.yaml", data: "a: 1\n"}), []byte("b: 2\n"))
	f.Add(archive(f, entry{name: "app/Chart.yaml", data: "apiVersion: v1\nname: app\nversion: 1.0.0\n"},
		entry{name: "app/requirements.yaml", data: "dependencies:\n- name: a\n  repository: x\n"}), []byte("a: &a\n  b: *a\n"))
	f.Add([]byte("no gzip"), []byte("- list"))
	f.Fuzz(func(t *testing.T, data, values []byte) {
		c, err := Read(bytes.NewReader(data), Limits{Archive: 1 << 20, File: 1 << 16})
		if err != nil {
			return
		}
		if c.SetVersion("2.0.0+1") != nil || c.SetValues([][]byte{values}) != nil {
			return
		}
		first, err := c.Package()
		if err != nil {
			return
		}
		again, err := Read(bytes.NewReader(first), Limits{Archive: 8 << 20, File: 1 << 20})
		if err != nil {
			t.Fatalf("what was packaged cannot be read: %v", err)
		}
		if again.Metadata.Name != c.Metadata.Name || again.Metadata.Version != "2.0.0+1" {
			t.Fatalf("it came back as %q %q", again.Metadata.Name, again.Metadata.Version)
		}
		if second, err := again.Package(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("the same chart packages in two ways (%v)", err)
		}
	})
}
