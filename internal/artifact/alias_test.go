package artifact

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func body(s *Store, path string) (int, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/"+path, nil))
	return w.Code, w.Body.String()
}

func TestPutKeepsTheBytes(t *testing.T) {
	s := newStore(t, StoreOptions{MaxBytes: 10})
	b, err := s.Put(t.Context(), strings.NewReader("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	if want := digest.FromString("0123456789").String(); b.Digest != want || b.Size != 10 {
		t.Errorf("got %+v, want the digest %s", b, want)
	}
	a := mustPublish(t, s, Object{Kind: "OCIRepository", Namespace: "ns", Name: "app"}, "a.tgz", b)
	if code, text := body(s, a.Path); code != 200 || text != "0123456789" {
		t.Errorf("got %d %q", code, text)
	}
	if _, err := s.Put(t.Context(), strings.NewReader("0123456789x")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if _, err := s.Put(t.Context(), io.MultiReader(strings.NewReader("x"), errorReader{})); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if left, err := filepath.Glob(s.at(tempFolder, "*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

var errBroken = errors.New("broken")

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errBroken }

func TestAlias(t *testing.T) {
	s := newStore(t, StoreOptions{RetentionRecords: 1})
	o := Object{Kind: "OCIRepository", Namespace: "ns", Name: "app"}
	put := func(file, text string) string {
		t.Helper()
		b, err := s.Put(t.Context(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		a := mustPublish(t, s, o, file, b)
		for range 2 { // the second time there is nothing to do
			url, err := s.Alias(a, "latest.tar.gz")
			if want := "http://source-controller.test/ocirepository/ns/app/latest.tar.gz"; err != nil || url != want {
				t.Fatalf("got %q, %v; want %q", url, err, want)
			}
		}
		if n, err := s.Collect(o, a); err != nil || n > 1 {
			t.Errorf("collecting removed %d, %v", n, err)
		}
		return a.Path
	}
	first := put("sha256:1.tar.gz", "one")
	second := put("sha256:2.tar.gz", "two")
	const latest = "ocirepository/ns/app/latest.tar.gz"
	if code, text := body(s, latest); code != 200 || text != "two" {
		t.Errorf("got %d %q", code, text)
	}
	if code, _ := body(s, first); code != 404 {
		t.Errorf("the first artifact was not collected: %d", code)
	}
	if err := os.WriteFile(s.at(second), []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _ := body(s, latest); code != 404 {
		t.Errorf("damaged bytes are served by the alias: %d", code)
	}
	if err := s.Remove(o); err != nil {
		t.Fatal(err)
	}
	if code, _ := body(s, latest); code != 404 {
		t.Errorf("the alias outlives the artifact: %d", code)
	}
}

// TestAliasStaysHere asserts that a link which somebody has put into the store
// leads nowhere.
func TestAliasStaysHere(t *testing.T) {
	s := newStore(t, StoreOptions{})
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := s.at("ocirepository/ns/app")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"a": outside, "b": "../../../.weir/tmp", "c": "c", "d": ".."} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
		if code, text := body(s, "ocirepository/ns/app/"+name); code != 404 {
			t.Errorf("%s: got %d %q", name, code, text)
		}
	}
}

// TestUnpackIsPrivate asserts that knowing a digest is not enough to get its
// content.
func TestUnpackIsPrivate(t *testing.T) {
	f := newFetcher(t, FetcherOptions{})
	data, sum := archive(t, entry{name: "a", data: "x"})
	open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil }
	tree, err := f.Unpack(t.Context(), sum, open)
	if err != nil {
		t.Fatal(err)
	}
	mustRead(t, tree, "a", "x")
	shared, err := f.Load(t.Context(), sum, open)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	refused := func() (io.ReadCloser, error) { return nil, errBroken }
	if _, err := f.Unpack(t.Context(), sum, refused); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the refusal", err)
	}
	file := tree.hold.item.file
	tree.Close()
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the content is still on disk: %v", err)
	}
}
