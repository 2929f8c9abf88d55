package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/opencontainers/go-digest"
)

// entry is one header of an archive made by hand.
type entry struct {
	name, data string
	kind       byte // 0 means a file
	link       string
	mode       int64
}

// archive returns a tar.gz of the entries and its digest.
func archive(t testing.TB, entries ...entry) ([]byte, string) {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.data))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), digest.FromBytes(out.Bytes()).String()
}
