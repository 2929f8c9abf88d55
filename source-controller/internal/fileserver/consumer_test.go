package fileserver

import (
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/http/fetch"
	"github.com/google/go-cmp/cmp"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
)

// folder is a source in memory, by path.
type folder map[string]string

func (f folder) ID() string { return "" }

func (f folder) ReadDir(at string) (out []artifact.Entry, err error) {
	seen := map[string]bool{}
	for p := range f {
		rest, below := strings.CutPrefix("/"+p, strings.TrimSuffix("/"+at, "/")+"/")
		name, _, deep := strings.Cut(rest, "/")
		if below && !seen[name] {
			out = append(out, artifact.Entry{Name: name, Dir: deep})
			seen[name] = true
		}
	}
	return out, nil
}

func (f folder) Open(p string, _ artifact.Entry) (io.ReadCloser, int64, error) {
	return io.NopCloser(strings.NewReader(f[p])), int64(len(f[p])), nil
}

// TestOthersCanFetch asserts that other controllers of the wire API, upstream's
// helm-controller among them, get artifacts with the library that they all use.
func TestOthersCanFetch(t *testing.T) {
	s := httptest.NewServer(nil)
	defer s.Close()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), Host: strings.TrimPrefix(s.URL, "http://")})
	must(t, err)
	s.Config.Handler = store.Handler()
	want := folder{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": "kind: A\n", "run.sh": "#!/bin/sh\n", "empty": ""}
	b, err := store.Pack(t.Context(), want, artifact.PackOptions{})
	must(t, err)
	a, err := store.Publish(artifact.Publication{
		Object: artifact.Object{Kind: sourcev1.GitRepositoryKind, Namespace: "apps", Name: "demo"}, File: "0123.tar.gz", Revision: "main@sha1:0123",
	}, b)
	must(t, err)

	dir := t.TempDir()
	must(t, fetch.New(fetch.WithRetries(0), fetch.WithUntar()).Fetch(a.URL, a.Digest, dir))
	got := folder{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		got[filepath.ToSlash(rel)] = string(data)
		return err
	}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fetched (-want +got):\n%s", diff)
	}
	if err := fetch.New(fetch.WithRetries(0)).Fetch(a.URL+".gone", a.Digest, t.TempDir()); !errors.Is(err, fetch.ErrFileNotFound) {
		t.Errorf("what is gone is told as %v", err)
	}
	if err := fetch.New(fetch.WithRetries(0)).Fetch(a.URL, "sha256:"+strings.Repeat("0", 64), t.TempDir()); err == nil {
		t.Error("another digest is no error")
	}
}
