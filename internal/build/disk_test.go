package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/weirhq/weir/internal/artifact"
)

// onDisk serves the files as an artifact and fetches it.
func onDisk(t *testing.T, files map[string][]byte) *artifact.Tree {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: p, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[p]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[p]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(b.Bytes()) }))
	t.Cleanup(server.Close)
	f, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := f.Fetch(context.Background(), server.URL+"/a.tar.gz", fmt.Sprintf("sha256:%x", sha256.Sum256(b.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

// A fetched artifact builds what its files in memory build, and the results of
// the one serve for the other: what counts is what is read.
func TestFetchedArtifact(t *testing.T) {
	files := monorepo(2)
	e, s := New(Options{}), Spec{Path: "apps/app001"}
	want := mustBuild(t, e, artifact.NewTree(files, nil), s)
	got := mustBuild(t, New(Options{}), onDisk(t, files), s)
	if got.Digest != want.Digest {
		t.Errorf("from disk: %s, from memory: %s", got.Digest, want.Digest)
	}
	if !mustBuild(t, e, onDisk(t, files), s).Cached {
		t.Error("the result for equal files was not used")
	}
}

// A tree that cannot be read says nothing about the source, so it is no result.
func TestUnreadableTree(t *testing.T) {
	files := monorepo(1)
	tree, e, s := onDisk(t, files), New(Options{}), Spec{Path: "apps/app000"}
	tree.Close()
	if _, err := e.Build(context.Background(), tree, s); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("got %v, want fs.ErrClosed", err)
	}
	if r := mustBuild(t, e, onDisk(t, files), s); r.Cached {
		t.Error("the failure was remembered")
	}
}
