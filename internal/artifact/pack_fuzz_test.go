package artifact

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// FuzzPack makes a tree of the lines of its input, "path content", and asserts that
// packing it either says what is wrong with it or makes an archive that unpacks to the
// same files, and that the same tree makes the same bytes.
func FuzzPack(f *testing.F) {
	f.Add("a/b.yaml kind: A\na/c.sh run\n.sourceignore *.md\nREADME.md read\n", "")
	f.Add("../up x\n/abs y\na//b z\n. w\n", "!/../up")
	f.Add("a x\na/b y\n", "*\n!a/\n")
	f.Add(".git/config x\n"+strings.Repeat("d/", 70)+"f deep\n"+strings.Repeat("n", 300)+" long\n", "# nothing")
	f.Add("caf\xe9 x\nnul\x00 y\n\x7f z\nbel\a w\n", "**")
	f.Fuzz(func(t *testing.T, listing, patterns string) {
		src := &files{data: map[string]string{}}
		for line := range strings.Lines(listing) {
			p, content, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if len(src.data) < 100 && consistent(src.data, p) {
				src.data[p] = content
			}
		}
		first, err := archived(t, src, patterns)
		again, err2 := archived(t, src, patterns)
		if !bytes.Equal(first, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("the same tree packs in two ways: %v, %v", err, err2)
		}
		if err != nil {
			for _, known := range []error{ErrArchive, ErrTooLarge, ErrIgnore} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("an error of no known kind: %v", err)
		}
		fetcher, err := NewFetcher(FetcherOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		tree, err := fetcher.Load(t.Context(), digest.FromBytes(first).String(), func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(first)), nil
		})
		if err != nil {
			t.Fatalf("what was packed cannot be unpacked: %v", err)
		}
		defer tree.Close()
		back, err := tree.Source("/")
		if err != nil {
			t.Fatal(err)
		}
		chosen, err := choose(t.Context(), back, Ignore{Patterns: "!*"}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range chosen {
			if e.Dir {
				continue
			}
			got, err := tree.ReadFile("/" + e.path)
			if want, there := src.data[e.path]; err != nil || !there || string(got) != want {
				t.Fatalf("%q came back as %q (%v), it was %q", e.path, got, err, want)
			}
		}
	})
}

// archived returns the bytes of the archive, made in a store of its own.
func archived(t *testing.T, src Source, patterns string) ([]byte, error) {
	t.Helper()
	s := newStore(t, StoreOptions{})
	b, err := s.Pack(t.Context(), src, PackOptions{Ignore: Ignore{Patterns: patterns}})
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.blobPath(digest.Digest(b.Digest)))
	if err != nil {
		t.Fatal(err)
	}
	return data, nil
}

// consistent tells whether p can be beside the others: nothing is both a file and a
// folder. What is wrong with names is left to Pack.
func consistent(others map[string]string, p string) bool {
	for o := range others {
		if o == p || strings.HasPrefix(o, p+"/") || strings.HasPrefix(p, o+"/") {
			return false
		}
	}
	return true
}
