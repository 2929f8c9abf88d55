package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/gitserver"
)

// manifest is YAML-like text that compresses about as well as real manifests do.
func manifest(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%x\ndata:\n", r.Uint64())
		for k := range 8 {
			fmt.Fprintf(&b, "  key-%d: \"%x-%d\"\n", k, r.Uint64(), r.Intn(1000))
		}
	}
	return b.String()
}

func path(i int) string {
	return fmt.Sprintf("clusters/c%02d/team-%02d/file-%05d.yaml", i%20, i/20%25, i)
}

// large serves a repository of many files and refs.
func large(t testing.TB, nFiles, size, nRefs int) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Start(gitserver.Options{})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	r := rand.New(rand.NewSource(1))
	all := make(map[string]string, nFiles)
	for i := range nFiles {
		all[path(i)] = manifest(r, size/2+r.Intn(size))
	}
	must(t, s.Init(name, all))
	head, err := s.Head(name, "main")
	must(t, err)
	var refs strings.Builder
	refs.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	for i := range nRefs {
		fmt.Fprintf(&refs, "%s refs/pull/%06d/head\n", head, i)
	}
	must(t, os.WriteFile(filepath.Join(s.Dir(name), "packed-refs"), []byte(refs.String()), 0o600))
	must(t, s.Tag(name, "v1.0.0", head, ""))
	_, err = s.Git(name, "repack", "-a", "-d", "-q")
	must(t, err)
	return s
}

func TestCostFollowsTheChange(t *testing.T) {
	t.Parallel()
	s := large(t, 2000, 4000, 2000)
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	spent := func(fn func()) int64 {
		before := s.BytesOut()
		fn()
		return s.BytesOut() - before
	}
	first := spent(func() { fetch(t, r, poll(t, r, Ref{Branch: "main"})) })
	if n := spent(func() { poll(t, r, Ref{Branch: "main"}) }); n > 1024 {
		t.Errorf("a poll received %d bytes", n)
	}
	if n := spent(func() { poll(t, r, Ref{SemVer: "*"}) }); n > 1024 {
		t.Errorf("a poll of tags received %d bytes", n)
	}
	text, err := s.File(name, "main", path(7))
	must(t, err)
	want := commit(t, s, "main", map[string]string{path(7): text + "one: more\n"})
	increment := spent(func() { fetch(t, r, poll(t, r, Ref{Branch: "main"})) })
	if increment > 30_000 || increment*20 > first {
		t.Errorf("one changed file received %d bytes, the first fetch %d", increment, first)
	}
	if got := files(t, r, want); len(got) != 2000 || got[path(7)] != text+"one: more\n" {
		t.Errorf("%d files, the changed one is %q", len(got), got[path(7)])
	}
}

func TestOldServersCostTheChangeToo(t *testing.T) {
	t.Parallel()
	s, err := gitserver.Start(gitserver.Options{V0: true})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	rnd := rand.New(rand.NewSource(1))
	all := map[string]string{}
	for i := range 200 {
		all[path(i)] = manifest(rnd, 4000)
	}
	must(t, s.Init(name, all))
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	commit(t, s, "main", map[string]string{path(7): all[path(7)] + "one: more\n"})
	before := s.BytesOut()
	fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	if n := s.BytesOut() - before; n > 20_000 {
		t.Errorf("one changed file received %d bytes", n)
	}
}

func TestCommitThatIsNoTipOfAnOldServer(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{V0: true, TipsOnly: true})
	first, err := s.Head(name, "main")
	must(t, err)
	commit(t, s, "main", map[string]string{"x": "x"})
	r := open(t, pool(t, Options{}), s.URL(name), Auth{})
	fetch(t, r, poll(t, r, Ref{Commit: first, Branch: "main"}))
	if diff := cmp.Diff(firstFiles, files(t, r, first)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	lost := Ref{Commit: strings.Repeat("1", 40), Branch: "main"}
	for i := range 2 {
		before := s.BytesOut()
		if _, err := r.Fetch(t.Context(), poll(t, r, lost)); !errors.Is(err, ErrNotFound) {
			t.Errorf("a commit that is not there: %v", err)
		}
		if i == 1 && s.BytesOut()-before > 2000 {
			t.Errorf("the search in vain was made again: %d bytes", s.BytesOut()-before)
		}
	}
	if got := files(t, r, first); len(got) != len(firstFiles) {
		t.Errorf("a commit that is not there cost one that was: %v", got)
	}
}

func TestManyIncrementsRepackWhileRead(t *testing.T) {
	t.Parallel()
	s := serve(t, gitserver.Options{})
	o := Options{Dir: t.TempDir(), repackAfter: 5}
	r := open(t, pool(t, o), s.URL(name), Auth{})
	base := poll(t, r, Ref{Branch: "main"})
	fetch(t, r, base)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := r.View(t.Context(), base.Hash, func(v *View) error { _, err := v.ReadFile("apps/a.yaml", 100); return err })
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var last Revision
	for i := range o.repackAfter + 5 {
		commit(t, s, "main", map[string]string{"apps/a.yaml": fmt.Sprint("a: ", i, "\n")})
		last = poll(t, r, Ref{Branch: "main"})
		fetch(t, r, last)
	}
	close(stop)
	readers.Wait()
	packs, _ := filepath.Glob(filepath.Join(o.Dir, "*", "objects", "pack", "*.pack"))
	if len(packs) >= o.repackAfter {
		t.Errorf("%d packs, never repacked", len(packs))
	}
	for _, h := range []string{base.Hash, last.Hash} {
		if got := files(t, r, h); len(got) != len(firstFiles) {
			t.Errorf("%s after repacking: %v", h, got)
		}
	}
	dir := filepath.Join(packs[0], "../../..")
	if out, err := exec.Command("git", "--git-dir", dir, "fsck", "--strict").CombinedOutput(); err != nil {
		t.Errorf("git does not like the mirror: %v\n%s", err, out)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	s := large(t, 50, 20_000, 1)
	cases := map[string]Options{
		"pack":   {MaxPackBytes: 10_000},
		"object": {MaxObjectBytes: 10_000},
	}
	for title, o := range cases {
		r := open(t, pool(t, o), s.URL(name), Auth{})
		if _, err := r.Fetch(t.Context(), poll(t, r, Ref{Branch: "main"})); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", title, err)
		}
	}
	o := Options{Dir: t.TempDir(), MaxMirrors: 2}
	p := pool(t, o)
	for i := range 4 {
		n := fmt.Sprint("small-", i)
		must(t, s.Init(n, firstFiles))
		r := open(t, p, s.URL(n), Auth{})
		fetch(t, r, poll(t, r, Ref{Branch: "main"}))
	}
	dirs, _ := filepath.Glob(filepath.Join(o.Dir, "*", "objects"))
	if len(dirs) > 3 { // the one in use and what MaxMirrors allows
		t.Errorf("%d mirrors are kept", len(dirs))
	}
	r := open(t, p, s.URL("small-0"), Auth{})
	fetch(t, r, poll(t, r, Ref{Branch: "main"})) // evicted, and brought again
	if _, err := pool(t, Options{Dir: o.Dir}).Open(s.URL(name), Auth{}); err == nil {
		t.Error("two pools share a folder")
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	real := serve(t, gitserver.Options{})
	var stolen []string
	thief := serve(t, gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stolen = append(stolen, r.Header.Get("Authorization"))
			next.ServeHTTP(w, r)
		})
	}})
	target := real.URL("")
	from := serve(t, gitserver.Options{Middleware: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.TrimSuffix(target, "/")+r.URL.RequestURI(), http.StatusFound)
		})
	}})
	p := pool(t, Options{})
	anonymous := open(t, p, from.URL(name), Auth{})
	rev := poll(t, anonymous, Ref{Branch: "main"})
	fetch(t, anonymous, rev)
	target = thief.URL("")
	_, err := open(t, p, from.URL(name), Auth{Username: "u", Password: "planted-secret"}).Poll(t.Context(), Ref{Branch: "main"})
	if !errors.Is(err, ErrURL) || len(stolen) > 0 || strings.Contains(err.Error(), "planted") {
		t.Errorf("redirect with credentials: %v; the other host saw %q", err, stolen)
	}
}

// BenchmarkLarge needs a minute to prepare: -bench Large -benchtime 1x.
func BenchmarkLarge(b *testing.B) {
	s := large(b, 15_000, 12_000, 20_000)
	cpu := func() time.Duration {
		var u syscall.Rusage
		must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	step := func(title string, fn func()) {
		bytes, used, start := s.BytesOut(), cpu(), time.Now()
		fn()
		b.Logf("%-12s %9d bytes, %5d ms of CPU (with the server's sockets), %5d ms", title, s.BytesOut()-bytes, (cpu() - used).Milliseconds(), time.Since(start).Milliseconds())
	}
	for b.Loop() {
		r := open(b, pool(b, Options{}), s.URL(name), Auth{})
		var rev Revision
		step("first poll", func() { rev = poll(b, r, Ref{Branch: "main"}) })
		step("first fetch", func() { fetch(b, r, rev) })
		step("poll", func() { poll(b, r, Ref{Branch: "main"}) })
		text, err := s.File(name, "main", path(7))
		must(b, err)
		commit(b, s, "main", map[string]string{path(7): text + fmt.Sprint("more: ", time.Now().UnixNano(), "\n")})
		step("increment", func() { fetch(b, r, poll(b, r, Ref{Branch: "main"})) })
	}
}

func FuzzPktLine(f *testing.F) {
	f.Add([]byte("0009done\n0000"))
	f.Add([]byte("001e# service=git-upload-pack\n0000000eversion 2\n0000"))
	f.Add([]byte("000aPACK\x01x0001fff0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &pktReader{r: bytes.NewReader(data)}
		read := 0
		for {
			kind, body, err := p.next()
			if err != nil {
				break
			}
			read += 4
			if kind == pktData {
				read += len(body)
			}
		}
		if read > len(data) {
			t.Errorf("%d bytes came out of %d", read, len(data))
		}
		_, _, _ = readAdvert(&pktReader{r: bytes.NewReader(data)}, uploadPack, everyRef)
		_, _ = readReport(bytes.NewReader(data), true)
		_, _ = readReport(bytes.NewReader(data), false)
	})
}

func FuzzTree(f *testing.F) {
	hash := strings.Repeat("h", 20)
	f.Add([]byte("100644 a.yaml\x00" + hash + "40000 dir\x00" + hash))
	f.Add([]byte("40000 ..\x00" + hash))
	f.Add([]byte("100644 .GIT\x00" + hash))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseTree(data)
		if err != nil {
			return
		}
		for _, e := range entries {
			if !filepath.IsLocal(e.name) || strings.ContainsAny(e.name, "/\\\x00") || strings.EqualFold(e.name, ".git") {
				t.Errorf("%q passed", e.name)
			}
		}
		again, err := parseTree(encodeTree(entries))
		if err != nil || len(again) != len(entries) {
			t.Errorf("%d entries, written and read %d (%v)", len(entries), len(again), err)
		}
	})
}
