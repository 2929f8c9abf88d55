package gitrepository

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/gitserver"
)

// The child of the figures finds its work in these variables.
const (
	figuresURL = "GITREPOSITORY_TEST_URL"
	figuresDir = "GITREPOSITORY_TEST_DIR"
)

// TestFiguresChild publishes the tip of a repository each time that it reads a line,
// and says what this process has cost so far. It is a process of its own so that the
// Git server and the tests do not count.
func TestFiguresChild(t *testing.T) {
	url, dir := os.Getenv(figuresURL), os.Getenv(figuresDir)
	if url == "" {
		return // this is the parent
	}
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, Host: "source-controller.test"})
	if err != nil {
		t.Fatal(err)
	}
	mirrors, err := gitrepo.NewPool(gitrepo.Options{Dir: dir + "/.weir/git", PollShare: -1})
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{Store: store, Mirrors: mirrors})
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app"}}
	repo.Spec.URL = url
	remote, err := mirrors.Open(url, gitrepo.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		revision, err := remote.Poll(t.Context(), gitrepo.Ref{Branch: gitserver.Branch})
		if err != nil {
			t.Fatal(err)
		}
		if revision.Hash != last {
			p, err := r.packOnce(t.Context(), repo, selected{remote: remote, revision: revision})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.publish(repo, revision, p.blob, nil); err != nil {
				t.Fatal(err)
			}
			last = revision.Hash
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("cost %s %d %d\n", last, (u.Utime.Nano()+u.Stime.Nano())/1e6, highWater(t))
	}
}

// highWater is the most memory that the process has held, in KiB.
func highWater(t *testing.T) (n int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // not on Linux
	}
	_, after, _ := strings.Cut(string(data), "VmHWM:")
	_, _ = fmt.Sscan(after, &n)
	return n
}

// cost is what a step has cost.
type cost struct {
	Bytes, Requests int64 // from and at the server
	CPU             int64 // milliseconds of the child
	KiB             int   // the most that the child has held so far
}

// figures measures the child against a generated repository.
type figures struct {
	t       testing.TB
	git     *gitserver.Server
	in      *bufio.Scanner
	out     interface{ Write([]byte) (int, error) }
	cpu     int64
	content func(i int) string
}

func file(i int) string {
	return fmt.Sprintf("clusters/c%02d/team-%02d/file-%05d.yaml", i%20, i/20%25, i)
}

// generated is a repository: size bytes of random content on average in each file, and
// padding that compresses to nothing.
type generated struct{ files, size, padding, refs int }

func startFigures(t testing.TB, g generated) *figures {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	git, err := gitserver.Start(gitserver.Options{})
	check(err)
	t.Cleanup(func() { git.Close() })
	rnd := rand.New(rand.NewSource(1))
	all := make(map[string]string, g.files)
	padding := strings.Repeat("# padding\n", g.padding/10)
	for i := range g.files {
		var b strings.Builder
		for n := g.size/2 + rnd.Intn(g.size); b.Len() < n; {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%x\ndata:\n  key: \"%x-%x\"\n", rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
		}
		b.WriteString(padding)
		all[file(i)] = b.String()
	}
	check(git.Init("app", all))
	head, err := git.Head("app", gitserver.Branch)
	check(err)
	var packed strings.Builder
	packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	for i := range g.refs {
		fmt.Fprintf(&packed, "%s refs/pull/%06d/head\n", head, i)
	}
	check(os.WriteFile(filepath.Join(git.Dir("app"), "packed-refs"), []byte(packed.String()), 0o600))
	_, err = git.Git("app", "repack", "-a", "-d", "-q")
	check(err)

	child := exec.Command(os.Args[0], "-test.run=^TestFiguresChild$", "-test.timeout=20m")
	child.Env = append(os.Environ(), figuresURL+"="+git.URL("app"), figuresDir+"="+t.TempDir())
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	check(err)
	out, err := child.StdoutPipe()
	check(err)
	check(child.Start())
	t.Cleanup(func() {
		in.Close()
		_ = child.Wait()
	})
	return &figures{t: t, git: git, in: bufio.NewScanner(out), out: in, content: func(i int) string { return all[file(i)] }}
}

// step lets the child look once.
func (f *figures) step() (c cost) {
	f.t.Helper()
	bytes, requests := f.git.BytesOut(), f.git.Requests()
	if _, err := f.out.Write([]byte("\n")); err != nil {
		f.t.Fatal(err)
	}
	if !f.in.Scan() {
		f.t.Fatal("the child has ended")
	}
	var hash string
	var cpu int64
	if _, err := fmt.Sscanf(f.in.Text(), "cost %s %d %d", &hash, &cpu, &c.KiB); err != nil {
		f.t.Fatalf("the child says %q", f.in.Text())
	}
	if want, err := f.git.Head("app", gitserver.Branch); err != nil || hash != want {
		f.t.Fatalf("the child is at %s, want %s (%v)", hash, want, err)
	}
	c.Bytes, c.Requests, c.CPU = f.git.BytesOut()-bytes, f.git.Requests()-requests, cpu-f.cpu
	f.cpu = cpu
	return c
}

// change commits one more line to one file.
func (f *figures) change(i int) {
	f.t.Helper()
	if _, err := f.git.Commit("app", gitserver.Branch, "change", map[string]string{file(i): f.content(i) + fmt.Sprintf("more: %d\n", time.Now().UnixNano())}); err != nil {
		f.t.Fatal(err)
	}
}

// The cost of a commit and of a look follows the change, not the size of the repository,
// and memory follows neither: the files have some 96 MB.
func TestFigures(t *testing.T) {
	f := startFigures(t, generated{files: 1500, size: 4000, padding: 60_000, refs: 3000})
	full := f.step()
	poll := f.step()
	f.change(7)
	increment := f.step()
	t.Logf("full %+v, poll %+v, increment %+v", full, poll, increment)
	if poll.Requests != 1 || poll.Bytes > 4000 {
		t.Errorf("a look cost %+v, want one request and less than 4 kB", poll)
	}
	if increment.Requests != 2 || increment.Bytes > 100_000 || increment.Bytes*20 > full.Bytes {
		t.Errorf("one changed file cost %+v, the whole %+v", increment, full)
	}
	if increment.CPU*4 > full.CPU {
		t.Errorf("one changed file cost %d ms of CPU, the whole %d", increment.CPU, full.CPU)
	}
	if increment.KiB > maxKiB {
		t.Errorf("it took %d KiB of memory, want %d at the most", increment.KiB, maxKiB)
	}
}

// maxKiB is the most that the child may hold, with all that the test binary is.
const maxKiB = 150_000

// BenchmarkFigures is TestFigures in the size of the design's figures: 15,000 files of 180
// MB and 20,000 refs. It needs minutes to prepare: -bench Figures -benchtime 1x.
func BenchmarkFigures(b *testing.B) {
	f := startFigures(b, generated{files: 15_000, size: 12_000, refs: 20_000})
	full := f.step()
	for b.Loop() {
		poll := f.step()
		f.change(7)
		increment := f.step()
		b.Logf("full %+v\npoll %+v\nincrement %+v", full, poll, increment)
		if increment.KiB > maxKiB {
			b.Errorf("it took %d KiB of memory, want %d at the most", increment.KiB, maxKiB)
		}
		b.ReportMetric(float64(poll.Bytes), "poll-bytes")
		b.ReportMetric(float64(increment.Bytes), "increment-bytes")
		b.ReportMetric(float64(increment.CPU), "increment-CPU-ms")
		b.ReportMetric(float64(full.CPU), "full-CPU-ms")
		b.ReportMetric(float64(increment.KiB)/1000, "peak-MB")
	}
}
