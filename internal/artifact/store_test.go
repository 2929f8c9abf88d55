package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// files is a Source in memory. Executables end in ".sh".
type files struct {
	data  map[string]string
	id    string
	noIDs bool
	read  atomic.Int64 // folders read
	opens atomic.Int64
}

func (f *files) ID() string { return f.id }

func (f *files) ReadDir(folder string) ([]Entry, error) {
	f.read.Add(1)
	var out []Entry
	seen := map[string]bool{}
	for p, data := range f.data {
		rest, ok := strings.CutPrefix(p, folder+"/")
		if folder == "" {
			rest, ok = p, true
		}
		name, _, deep := strings.Cut(rest, "/")
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		e := Entry{Name: name, Dir: deep, Executable: !deep && strings.HasSuffix(name, ".sh")}
		if !deep && !f.noIDs {
			e.ID = digest.FromString(data).String()
		}
		out = append(out, e)
	}
	return out, nil
}

func (f *files) Open(p string, _ Entry) (io.ReadCloser, int64, error) {
	f.opens.Add(1)
	data, ok := f.data[p]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(data)), int64(len(data)), nil
}

func newStore(t testing.TB, o StoreOptions) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Host = "source-controller.test"
	s, err := NewStore(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := os.ReadDir(s.at(tempFolder)); len(left) > 0 {
			t.Errorf("%d temporary files are left", len(left))
		}
	})
	return s
}

func mustPack(t testing.TB, s *Store, src Source, o PackOptions) Blob {
	t.Helper()
	b, err := s.Pack(t.Context(), src, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var example = Object{Kind: "GitRepository", Namespace: "apps", Name: "demo"}

func mustPublish(t testing.TB, s *Store, o Object, file string, b Blob) *meta.Artifact {
	t.Helper()
	a, err := s.Publish(Publication{Object: o, File: file, Revision: "main@sha1:1234"}, b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// listing returns the headers and contents of a published artifact.
func listing(t testing.TB, s *Store, b Blob) map[string]string {
	t.Helper()
	f, err := os.Open(s.blobPath(digest.Digest(b.Digest)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: the header has a time or an owner: %+v", h.Name, h)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = fmt.Sprintf("%o %s", h.Mode, data)
	}
}

func TestPack(t *testing.T) {
	s := newStore(t, StoreOptions{})
	b := mustPack(t, s, &files{data: map[string]string{
		"README.md": "hello", "apps/a.yaml": "kind: A", "apps/run.sh": "#!/bin/sh", "apps/logo.png": "x", ".github/w.yaml": "x", ".gitignore": "*",
		strings.Repeat("long/", 40) + "f": "deep",
	}}, PackOptions{})
	got := listing(t, s, b)
	want := map[string]string{"README.md": "600 hello", "apps/": "750 ", "apps/a.yaml": "600 kind: A", "apps/run.sh": "700 #!/bin/sh"}
	for i := range 40 {
		want[strings.Repeat("long/", i+1)] = "750 "
	}
	want[strings.Repeat("long/", 40)+"f"] = "600 deep"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("archive (-want +got):\n%s", d)
	}
}

// many returns a source of n files over a few folders.
func many(n int, id string) *files {
	f := &files{data: map[string]string{}, id: id}
	for i := range n {
		f.data[fmt.Sprintf("apps/%d/file-%d.yaml", i%17, i)] = fmt.Sprintf("kind: ConfigMap\nname: n%d\n", i)
	}
	return f
}

func TestPackIsTheSameEverywhere(t *testing.T) {
	src := many(500, "")
	first := mustPack(t, newStore(t, StoreOptions{}), src, PackOptions{})
	src.noIDs = true
	again := mustPack(t, newStore(t, StoreOptions{}), src, PackOptions{})
	if first.Digest != again.Digest {
		t.Errorf("the same tree packs to %s and %s", first.Digest, again.Digest)
	}
}

func TestPackReusesMembers(t *testing.T) {
	s := newStore(t, StoreOptions{})
	src := many(2000, "v1")
	first := mustPack(t, s, src, PackOptions{})
	src.data["apps/3/file-3.yaml"] = "changed"
	src.data["apps/new.yaml"] = "new"
	delete(src.data, "apps/4/file-4.yaml")
	src.id = "v2"
	src.opens.Store(0)
	next := mustPack(t, s, src, PackOptions{Previous: first.Digest})
	if made := next.Members - next.Reused; made > 4 || next.Members < 20 {
		t.Errorf("%d of %d members were made anew, want at most 4", made, next.Members)
	}
	if n := src.opens.Load(); n > 4*4*32 {
		t.Errorf("%d files were read for three changes", n)
	}
	alone := mustPack(t, newStore(t, StoreOptions{}), src, PackOptions{})
	if alone.Digest != next.Digest {
		t.Error("an archive from reused members has other bytes")
	}
}

func TestPackDoesNotReuseDamage(t *testing.T) {
	s := newStore(t, StoreOptions{})
	src := many(500, "v1")
	first := mustPack(t, s, src, PackOptions{})
	damage(t, s.blobPath(digest.Digest(first.Digest)))
	src.data["apps/new.yaml"] = "new"
	src.id = "v2"
	next := mustPack(t, s, src, PackOptions{Previous: first.Digest})
	if alone := mustPack(t, newStore(t, StoreOptions{}), src, PackOptions{}); alone.Digest != next.Digest || next.Reused != 0 {
		t.Errorf("%d members of a damaged archive were used", next.Reused)
	}
}

func damage(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damaged"), 20); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour) // a file system's clock may be coarse
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
}

func TestPackOnce(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, StoreOptions{Dir: dir})
	src := many(100, "tree 1")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { mustPack(t, s, src, PackOptions{}) })
	}
	all.Wait()
	if n := src.opens.Load(); n != 100 {
		t.Errorf("%d files were read for ten packs of 100 files", n)
	}
	b := mustPack(t, s, src, PackOptions{Ignore: Ignore{Patterns: "/apps/1/"}})
	if src.opens.Load() == 100 {
		t.Error("other rules were answered with the same archive")
	}
	mustPublish(t, s, example, "a.tar.gz", b)
	src.opens.Store(0)
	again := newStore(t, StoreOptions{Dir: dir}) // after a restart
	if got := mustPack(t, again, src, PackOptions{Ignore: Ignore{Patterns: "/apps/1/"}}); got.Digest != b.Digest || src.opens.Load() != 0 {
		t.Errorf("%d files were read for a tree that is packed", src.opens.Load())
	}
}

func TestPackFailures(t *testing.T) {
	tests := map[string]struct {
		src    Source
		o      StoreOptions
		ignore string
		want   error
		text   string
	}{
		"too many files":   {many(100, ""), StoreOptions{MaxFiles: 50}, "", ErrTooLarge, "50 files"},
		"too many bytes":   {many(100, ""), StoreOptions{MaxBytes: 500}, "", ErrTooLarge, "500 bytes"},
		"long path":        {&files{data: map[string]string{strings.Repeat("x", 1100): ""}}, StoreOptions{}, "", ErrTooLarge, "longer than"},
		"deep path":        {&files{data: map[string]string{strings.Repeat("x/", 80) + "f": ""}}, StoreOptions{}, "", ErrTooLarge, "deeper than"},
		"large ignore":     {&files{data: map[string]string{"a/.sourceignore": strings.Repeat("x\n", 40000)}}, StoreOptions{}, "", ErrIgnore, `"a/.sourceignore"`},
		"many rules":       {&files{data: map[string]string{"a": ""}}, StoreOptions{}, strings.Repeat("x\n", 20000), ErrIgnore, "spec.ignore"},
		"climbing name":    {&odd{"..", 1, 1}, StoreOptions{}, "", ErrArchive, `".."`},
		"slash in a name":  {&odd{"a/b", 1, 1}, StoreOptions{}, "", ErrArchive, `"a/b"`},
		"less than told":   {&odd{"a", 2, 1}, StoreOptions{}, "", nil, `"a" has 1 bytes, 2 were announced`},
		"more than told":   {&odd{"a", 1, 2}, StoreOptions{}, "", nil, "too long"},
		"source that ends": {&odd{"a", 1, -1}, StoreOptions{}, "", io.ErrUnexpectedEOF, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, tt.o)
			_, err := s.Pack(t.Context(), tt.src, PackOptions{Ignore: Ignore{Patterns: tt.ignore}})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Pack fails with %v, want %v naming %s", err, tt.want, tt.text)
			}
			if left, _ := os.ReadDir(s.at(blobFolder)); len(left) > 0 {
				t.Errorf("%d files are left", len(left))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newStore(t, StoreOptions{}).Pack(ctx, many(10, "x"), PackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Pack fails with %v, want the context's error", err)
	}
}

// odd is a source with one file whose size is not what it says.
type odd struct {
	name string
	told int64
	has  int
}

func (o *odd) ID() string                      { return "" }
func (o *odd) ReadDir(string) ([]Entry, error) { return []Entry{{Name: o.name}}, nil }
func (o *odd) Open(string, Entry) (io.ReadCloser, int64, error) {
	if o.has < 0 {
		return nil, 0, io.ErrUnexpectedEOF
	}
	return io.NopCloser(bytes.NewReader(make([]byte, o.has))), o.told, nil
}

func TestPublish(t *testing.T) {
	s := newStore(t, StoreOptions{})
	b := mustPack(t, s, many(10, "t"), PackOptions{})
	a := mustPublish(t, s, example, "abc.tar.gz", b)
	want := &meta.Artifact{
		Path: "gitrepository/apps/demo/abc.tar.gz", URL: "http://source-controller.test/gitrepository/apps/demo/abc.tar.gz",
		Revision: "main@sha1:1234", Digest: b.Digest, Size: &b.Size, LastUpdateTime: a.LastUpdateTime,
	}
	if d := cmp.Diff(want, a); d != "" {
		t.Errorf("artifact (-want +got):\n%s", d)
	}
	if !s.Present(a) {
		t.Error("a published artifact is not present")
	}
	for _, file := range []string{"", "..", "../x", "a/b", ".hidden"} {
		if _, err := s.Publish(Publication{Object: example, File: file}, b); err == nil {
			t.Errorf("the file name %q was accepted", file)
		}
	}
}

func TestPresent(t *testing.T) {
	tests := map[string]struct {
		harm   func(t *testing.T, s *Store, a *meta.Artifact)
		want   bool
		remain bool // the file is there afterwards
	}{
		"untouched":    {func(*testing.T, *Store, *meta.Artifact) {}, true, true},
		"file removed": {func(t *testing.T, s *Store, a *meta.Artifact) { os.Remove(s.at(a.Path)) }, true, true},
		"record lost":  {func(t *testing.T, s *Store, a *meta.Artifact) { os.Remove(s.at(recordFolder, a.Path)) }, true, true},
		"file replaced": {func(t *testing.T, s *Store, a *meta.Artifact) {
			os.Remove(s.at(a.Path))
			os.WriteFile(s.at(a.Path), []byte("evil"), 0o644)
		}, true, true},
		"replaced by a link": {func(t *testing.T, s *Store, a *meta.Artifact) {
			os.Remove(s.at(a.Path))
			os.Symlink("/etc/passwd", s.at(a.Path))
		}, true, true},
		"tampered": {func(t *testing.T, s *Store, a *meta.Artifact) { damage(t, s.at(a.Path)) }, false, false},
		"wiped": {func(t *testing.T, s *Store, a *meta.Artifact) {
			if err := os.RemoveAll(s.o.Dir); err != nil {
				t.Fatal(err)
			}
		}, false, false},
		"other digest in status": {func(t *testing.T, s *Store, a *meta.Artifact) { a.Digest = digest.FromString("x").String() }, false, false},
		"path that climbs":       {func(t *testing.T, s *Store, a *meta.Artifact) { a.Path = "../../../etc/passwd" }, false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, StoreOptions{})
			src := many(10, "t")
			b := mustPack(t, s, src, PackOptions{})
			a := mustPublish(t, s, example, "abc.tar.gz", b)
			path := s.at(a.Path)
			tt.harm(t, s, a)
			if got := s.Present(a); got != tt.want {
				t.Errorf("Present = %v, want %v", got, tt.want)
			}
			if _, err := os.Lstat(path); (err == nil) != tt.remain {
				t.Errorf("the file is there: %v, want %v", err == nil, tt.remain)
			}
			if tt.want {
				serves(t, s, a)
			}
			healed := mustPublish(t, s, example, "abc.tar.gz", mustPack(t, s, src, PackOptions{}))
			if healed.Digest != b.Digest || !s.Present(healed) {
				t.Error("packing again did not heal it")
			}
			serves(t, s, healed)
		})
	}
}

// serves fails unless the handler gives out the bytes of a.
func serves(t *testing.T, s *Store, a *meta.Artifact) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+a.Path, nil))
	if got := digest.FromBytes(w.Body.Bytes()).String(); w.Code != http.StatusOK || got != a.Digest {
		t.Errorf("GET answers %d with %s, want %s", w.Code, got, a.Digest)
	}
}

func TestPresentHashesOnce(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, StoreOptions{Dir: dir})
	a := mustPublish(t, s, example, "abc.tar.gz", mustPack(t, s, many(10, "t"), PackOptions{}))
	again := newStore(t, StoreOptions{Dir: dir})
	if len(again.verified) != 0 || !again.Present(a) || len(again.verified) != 1 {
		t.Error("an artifact is not hashed at first sight after a start")
	}
	damage(t, again.at(a.Path))
	info, err := os.Lstat(again.at(a.Path))
	if err != nil {
		t.Fatal(err)
	}
	again.trust(info, digest.Digest(a.Digest))
	if !again.Present(a) {
		t.Error("a file that did not change is hashed again")
	}
}

func TestRestartAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, StoreOptions{Dir: dir})
	mustPack(t, s, many(10, "never published"), PackOptions{})
	kept := mustPublish(t, s, example, "abc.tar.gz", mustPack(t, s, many(20, "published"), PackOptions{}))
	if err := os.WriteFile(s.at(tempFolder, "half"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := newStore(t, StoreOptions{Dir: dir}) // its cleanup looks for temporary files
	blobs, err := os.ReadDir(again.at(blobFolder))
	if err != nil || len(blobs) != 2 {
		t.Errorf("%d files in the archive folder, want the published one and its list: %v", len(blobs), err)
	}
	if !again.Present(kept) {
		t.Error("the published artifact is gone")
	}
}

func TestCollect(t *testing.T) {
	tests := map[string]struct {
		o    StoreOptions
		keep int // which of the five, oldest first, status names; -1 for none
		want string
	}{
		"two newest":        {StoreOptions{}, 4, "3 4"},
		"what status names": {StoreOptions{}, 0, "0 3 4"},
		"three newest":      {StoreOptions{RetentionRecords: 3}, 4, "2 3 4"},
		"all young":         {StoreOptions{RetentionTTL: time.Hour}, 4, "0 1 2 3 4"},
		"some young":        {StoreOptions{RetentionTTL: 210 * time.Second}, -1, "2 3 4"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, tt.o)
			var all []*meta.Artifact
			for i := range 5 {
				b := mustPack(t, s, &files{data: map[string]string{"f": fmt.Sprint(i)}}, PackOptions{})
				a := mustPublish(t, s, example, fmt.Sprintf("%d.tar.gz", i), b)
				at := time.Now().Add(time.Duration(i-5) * time.Minute)
				if err := os.Chtimes(s.at(recordFolder, a.Path), at, at); err != nil {
					t.Fatal(err)
				}
				all = append(all, a)
			}
			var keep *meta.Artifact
			if tt.keep >= 0 {
				keep = all[tt.keep]
			}
			if _, err := s.Collect(example, keep); err != nil {
				t.Fatal(err)
			}
			var left []string
			for i, a := range all {
				_, fileErr := os.Lstat(s.at(a.Path))
				_, blobErr := os.Lstat(s.blobPath(digest.Digest(a.Digest)))
				if (fileErr == nil) != (blobErr == nil) {
					t.Errorf("%d: file %v, archive %v", i, fileErr, blobErr)
				}
				if fileErr == nil {
					left = append(left, fmt.Sprint(i))
				}
			}
			if got := strings.Join(left, " "); got != tt.want {
				t.Errorf("left are %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	s := newStore(t, StoreOptions{})
	b := mustPack(t, s, many(10, "shared"), PackOptions{})
	other := Object{Kind: "GitRepository", Namespace: "apps", Name: "other"}
	gone, stays := mustPublish(t, s, example, "a.tar.gz", b), mustPublish(t, s, other, "a.tar.gz", b)
	if err := s.Remove(example); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.at(gone.Path)); !errors.Is(err, fs.ErrNotExist) || !s.Present(stays) {
		t.Errorf("removed: %v, the other is present: %v", err, s.Present(stays))
	}
	if err := s.Remove(other); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.at(blobFolder)); len(left) > 0 {
		t.Errorf("%d archives are left of nothing", len(left))
	}
	if err := s.Remove(other); err != nil {
		t.Errorf("removing nothing fails: %v", err)
	}
}

func TestReplaceUnderTheSameName(t *testing.T) {
	s := newStore(t, StoreOptions{})
	first := mustPublish(t, s, example, "a.tar.gz", mustPack(t, s, many(10, "1"), PackOptions{}))
	second := mustPublish(t, s, example, "a.tar.gz", mustPack(t, s, many(10, "1"), PackOptions{Ignore: Ignore{Patterns: "/apps/1/"}}))
	if _, err := os.Lstat(s.blobPath(digest.Digest(first.Digest))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the replaced archive is still there: %v", err)
	}
	serves(t, s, second)
}

func TestHandler(t *testing.T) {
	s := newStore(t, StoreOptions{})
	b := mustPack(t, s, many(50, "t"), PackOptions{})
	a := mustPublish(t, s, example, "abc.tar.gz", b)
	serves(t, s, a)
	blob := "/" + blobFolder + "/" + strings.Replace(b.Digest, ":", "-", 1)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	tests := map[string]struct {
		method, path string
		header       [2]string
		code         int
	}{
		"head":            {http.MethodHead, "/" + a.Path, [2]string{}, 200},
		"range":           {http.MethodGet, "/" + a.Path, [2]string{"Range", "bytes=0-9"}, 206},
		"not modified":    {http.MethodGet, "/" + a.Path, [2]string{"If-None-Match", `"` + b.Digest + `"`}, 304},
		"range of other":  {http.MethodGet, "/" + a.Path, [2]string{"If-Range", `"other"`}, 200},
		"root":            {http.MethodGet, "/", [2]string{}, 200},
		"post":            {http.MethodPost, "/" + a.Path, [2]string{}, 405},
		"folder":          {http.MethodGet, "/gitrepository/apps/demo/", [2]string{}, 404},
		"namespace":       {http.MethodGet, "/gitrepository/apps", [2]string{}, 404},
		"other file":      {http.MethodGet, "/gitrepository/apps/demo/other.tar.gz", [2]string{}, 404},
		"archive":         {http.MethodGet, blob, [2]string{}, 404},
		"record":          {http.MethodGet, "/" + recordFolder + "/" + a.Path, [2]string{}, 404},
		"climbing":        {http.MethodGet, "/gitrepository/apps/../" + filepath.Base(s.o.Dir), [2]string{}, 404},
		"encoded climb":   {http.MethodGet, "/gitrepository/apps/demo/%2e%2e%2f%2e%2e%2fx", [2]string{}, 404},
		"zero byte":       {http.MethodGet, "/gitrepository/apps/demo/a%00", [2]string{}, 404},
		"encoded archive": {http.MethodGet, "/%2eweir/blobs/x/y", [2]string{}, 404},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, srv.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.header[0] != "" {
				req.Header.Set(tt.header[0], tt.header[1])
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.code {
				t.Errorf("%s %s answers %d, want %d", tt.method, tt.path, resp.StatusCode, tt.code)
			}
			if resp.StatusCode == 200 && tt.path != "/" && (resp.Header.Get("ETag") != `"`+b.Digest+`"` || resp.Header.Get("Content-Type") != "application/gzip") {
				t.Errorf("headers are %v", resp.Header)
			}
		})
	}
	damage(t, s.at(a.Path))
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+a.Path, nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("bytes that do not match their digest are answered with %d", w.Code)
	}
}

// What a Store publishes, a Fetcher reads.
func TestRoundTrip(t *testing.T) {
	for _, algorithm := range []string{"sha1", "sha256", "sha384", "sha512", "blake3"} {
		t.Run(algorithm, func(t *testing.T) {
			s := newStore(t, StoreOptions{Algorithm: algorithm})
			srv := httptest.NewServer(s.Handler())
			defer srv.Close()
			src := many(300, "t")
			a := mustPublish(t, s, example, "abc.tar.gz", mustPack(t, s, src, PackOptions{}))
			f := newFetcher(t, FetcherOptions{HostOverride: strings.TrimPrefix(srv.URL, "http://")})
			tree := mustFetch(t, f, a.URL, a.Digest)
			for p, want := range src.data {
				mustRead(t, tree, p, want)
			}
			again, err := tree.Source("")
			if err != nil {
				t.Fatal(err)
			}
			if b := mustPack(t, newStore(t, StoreOptions{Algorithm: algorithm}), again, PackOptions{}); b.Digest != a.Digest {
				t.Error("a tree packed again has other bytes")
			}
		})
	}
}

func TestNewStoreRefuses(t *testing.T) {
	for name, o := range map[string]StoreOptions{"no folder": {Host: "x"}, "no host": {Dir: t.TempDir()}, "algorithm": {Dir: t.TempDir(), Host: "x", Algorithm: "md5"}} {
		if _, err := NewStore(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
