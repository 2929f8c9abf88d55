package artifact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/opencontainers/go-digest"
)

// toKill names the folder of the store that a test process works on until it is killed.
const toKill = "WEIR_TEST_STORE_TO_KILL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(toKill); dir != "" {
		fmt.Fprintln(os.Stderr, workUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// workUntilKilled publishes artifact after artifact for three objects, collects old ones,
// and says of each what a status would name from then on.
func workUntilKilled(dir string) error {
	s, err := NewStore(StoreOptions{Dir: dir, Host: "source-controller.test", RetentionRecords: 1})
	if err != nil {
		return err
	}
	var before [3]*meta.Artifact
	previous := ""
	for i := 0; ; i++ {
		n := i % len(before)
		o := Object{Kind: "GitRepository", Namespace: "apps", Name: fmt.Sprintf("demo-%d", n)}
		src := version(40, fmt.Sprint(os.Getpid(), i))
		b, err := s.Pack(context.Background(), src, PackOptions{Previous: previous})
		if err != nil {
			return err
		}
		a, err := s.Publish(Publication{Object: o, File: fmt.Sprintf("%d-%d.tar.gz", os.Getpid(), i), Revision: "main"}, b)
		if err != nil {
			return err
		}
		fmt.Println(a.Path, a.Digest, *a.Size)
		if _, err := s.Alias(a, "latest.tar.gz"); err != nil {
			return err
		}
		if _, err := s.Collect(o, a, before[n]); err != nil {
			return err
		}
		before[n], previous = a, b.Digest
	}
}

// version is a tree of n files, of which one has the text.
func version(n int, text string) *files {
	f := many(n, text)
	f.data["version"] = text
	return f
}

// TestKilled asserts that a process which is killed at any moment leaves a store that has
// all that statuses name, serves nothing wrong, and goes on.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	named := map[string]*meta.Artifact{} // by object, as statuses have it
	for round := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), toKill+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, first := bufio.NewScanner(out), true
		for lines.Scan() {
			a := &meta.Artifact{Size: new(int64)}
			if _, err := fmt.Sscan(lines.Text(), &a.Path, &a.Digest, a.Size); err != nil {
				continue // cut off
			}
			named[filepath.Dir(a.Path)] = a
			if first {
				first = false
				time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || first {
			t.Fatalf("round %d: the process ended by itself", round)
		}
		s := newStore(t, StoreOptions{Dir: dir})
		for object, a := range named {
			if !s.Present(a) {
				t.Fatalf("round %d: the artifact of %q is gone", round, object)
			}
			serves(t, s, a)
		}
		servesNothingWrong(t, s)
	}
	s := newStore(t, StoreOptions{Dir: dir})
	serves(t, s, mustPublish(t, s, example, "after.tar.gz", mustPack(t, s, many(10, "after"), PackOptions{})))
}

// servesNothingWrong asks for every file of the store, published or not.
func servesNothingWrong(t *testing.T, s *Store) {
	t.Helper()
	err := filepath.WalkDir(s.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.o.Dir, path)
		if err != nil {
			return err
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+filepath.ToSlash(rel), nil))
		if w.Code == http.StatusNotFound {
			return nil
		}
		if want := `"` + digest.FromBytes(w.Body.Bytes()).String() + `"`; w.Code != http.StatusOK || w.Header().Get("ETag") != want {
			t.Errorf("%s: %d with %s and bytes of %s", rel, w.Code, w.Header().Get("ETag"), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTamperedUnseen asserts that bytes which were changed in place are found out even
// if size and time are set to what they were.
func TestTamperedUnseen(t *testing.T) {
	s := newStore(t, StoreOptions{})
	a := mustPublish(t, s, example, "abc.tar.gz", mustPack(t, s, many(10, "t"), PackOptions{}))
	serves(t, s, a)
	path := s.at(a.Path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, path)
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if now, err := os.Stat(path); err != nil || now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime()) {
		t.Fatalf("the file is seen to be another: %v", err)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+a.Path, nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("changed bytes are answered with %d", w.Code)
	}
	if s.Holds(a) || s.Serves(a.Path) {
		t.Error("it is said to be right")
	}
	if present, damaged := s.Check(a); present || !damaged {
		t.Errorf("Check says present %t, damaged %t", present, damaged)
	}
}

// TestClockJumps asserts that nothing that statuses name goes, whatever the clock says
// of files, and that no more stays than before once it is right.
func TestClockJumps(t *testing.T) {
	s := newStore(t, StoreOptions{RetentionTTL: time.Minute, RetentionRecords: 2})
	var all []*meta.Artifact
	for i := range 6 {
		all = append(all, mustPublish(t, s, example, fmt.Sprintf("%d.tar.gz", i), mustPack(t, s, version(5, fmt.Sprint(i)), PackOptions{})))
	}
	at := func(i int, d time.Duration) {
		t.Helper()
		when := time.Now().Add(d)
		if err := os.Chtimes(s.at(recordFolder, all[i].Path), when, when); err != nil {
			t.Fatal(err)
		}
	}
	// The clock was a year ahead while 0 and 1 were published, and went back; then it
	// was a year behind. The status names 5, the API server's still 4.
	at(0, 365*24*time.Hour)
	at(1, 365*24*time.Hour)
	for i := 2; i < 6; i++ {
		at(i, -365*24*time.Hour)
	}
	if n, err := s.Collect(example, all[5], all[4]); err != nil || n != 2 {
		t.Errorf("%d were removed while the clock is wrong, want 2 (%v)", n, err)
	}
	for _, i := range []int{4, 5} {
		if !s.Present(all[i]) {
			t.Errorf("%d is named and gone", i)
		}
	}
	if s.Present(all[2]) || s.Present(all[3]) {
		t.Error("what is old and not named stays")
	}
	at(0, -time.Hour)
	at(1, -time.Hour)
	at(4, 0)
	at(5, 0)
	if n, err := s.Collect(example, all[5]); err != nil || n != 2 || !s.Present(all[5]) {
		t.Errorf("%d were removed after the clock was set, want 2 (%v)", n, err)
	}
}

// TestRestore asserts that a copy is published only when it is what it should be.
func TestRestore(t *testing.T) {
	from := newStore(t, StoreOptions{})
	a := mustPublish(t, from, example, "abc.tar.gz", mustPack(t, from, many(10, "t"), PackOptions{}))
	data, err := os.ReadFile(from.at(a.Path))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data string
		path string
		want error
	}{
		"right":           {string(data), a.Path, nil},
		"cut off":         {string(data[:len(data)-1]), a.Path, ErrDigest},
		"changed":         {"x" + string(data[1:]), a.Path, ErrDigest},
		"more":            {string(data) + "x", a.Path, ErrTooLarge},
		"empty":           {"", a.Path, ErrDigest},
		"another's place": {string(data), "../../etc/passwd", ErrStorage},
	} {
		t.Run(name, func(t *testing.T) {
			to := newStore(t, StoreOptions{})
			copied := *a
			copied.Path = c.path
			err := to.Restore(t.Context(), &copied, strings.NewReader(c.data))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if to.Holds(&copied) != (c.want == nil) {
				t.Errorf("it is there: %t", to.Holds(&copied))
			}
			if c.want == nil {
				serves(t, to, a)
			}
		})
	}
}
