package gitrepo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/gitserver"
)

func TestRestartAndHeal(t *testing.T) {
	packs := func(dir string) []string {
		found, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*.pack"))
		must(t, err)
		return found
	}
	truncate := func(path string) error {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, st.Size()/2)
	}
	cases := map[string]struct {
		damage func(dir string) error
		asked  bool // whether the first fetch has to ask again
	}{
		"nothing": {func(string) error { return nil }, false},
		"leftovers": {func(dir string) error {
			return os.WriteFile(filepath.Join(packs(dir)[0], "../../../tmp/pack-1"), []byte("x"), 0o600)
		}, false},
		"index alone": {func(dir string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(packs(dir)[0]), "pack-"+strings.Repeat("1", 40)+".idx"), []byte("x"), 0o600)
		}, false},
		"pack cut":     {func(dir string) error { return truncate(packs(dir)[0]) }, true},
		"pack gone":    {func(dir string) error { return os.Remove(packs(dir)[0]) }, true},
		"refs damaged": {func(dir string) error { return truncate(filepath.Join(packs(dir)[0], "../../../packed-refs")) }, true},
		"all gone":     {func(dir string) error { return os.RemoveAll(filepath.Join(packs(dir)[0], "../../..")) }, true},
		"folder is file": {func(dir string) error {
			d := filepath.Dir(packs(dir)[0])
			return errors.Join(os.RemoveAll(d), os.WriteFile(d, nil, 0o600))
		}, true},
	}
	for title, c := range cases {
		// Not side by side: a process that another is starting has the lock of the folder
		// for a moment.
		t.Run(title, func(t *testing.T) {
			s := serve(t, gitserver.Options{})
			o := Options{Dir: t.TempDir()}
			p := pool(t, o)
			rev := poll(t, open(t, p, s.URL(name), Auth{}), Ref{Branch: "main"})
			fetch(t, open(t, p, s.URL(name), Auth{}), rev)
			must(t, p.Close())
			must(t, c.damage(o.Dir))
			r := open(t, pool(t, o), s.URL(name), Auth{})
			before := s.Requests()
			fetch(t, r, rev)
			if asked := s.Requests() > before; asked != c.asked {
				t.Errorf("asked the server again: %v, want %v", asked, c.asked)
			}
			if diff := cmp.Diff(firstFiles, files(t, r, rev.Hash)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			leftovers, _ := filepath.Glob(filepath.Join(o.Dir, "*", "tmp", "*"))
			if len(leftovers) > 0 {
				t.Errorf("left: %v", leftovers)
			}
		})
	}
}
