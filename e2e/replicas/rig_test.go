// Package replicas runs several source-controllers at once: what they serve, who
// works, and what is left when one is gone.
package replicas

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	coordinationv1 "k8s.io/api/coordination/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
)

// patience bounds every wait. It says nothing about speed.
const patience = 90 * time.Second

func TestMain(m *testing.M) { testenv.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// upstream is a Helm repository that counts requests and can be told to hang or fail.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex
	index string
	hook  func(http.ResponseWriter, *http.Request) bool // true: it has answered
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{index: index("1.0.0")}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		hook, text := u.hook, u.index
		u.mu.Unlock()
		if hook == nil || !hook(w, r) {
			_, _ = io.WriteString(w, text)
		}
	}))
	t.Cleanup(u.Close)
	return u
}

func index(version string) string {
	return fmt.Sprintf("apiVersion: v1\nentries:\n  app:\n  - name: app\n    version: %s\n    urls:\n    - app-%[1]s.tgz\n", version)
}

func (u *upstream) set(text string, hook func(http.ResponseWriter, *http.Request) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.index, u.hook = text, hook
}

// rig is a namespace in which replicas run, and their common settings.
type rig struct {
	t     *testing.T
	c     client.Client
	ns    string
	peers []string
	flags []string
	up    *upstream
}

func newRig(t *testing.T, flags ...string) *rig {
	t.Helper()
	g := &rig{t: t, c: testenv.Client(t, sourcev1.AddToScheme), ns: testenv.Namespace(t), flags: flags, up: newUpstream(t)}
	for range 2 {
		g.peers = append(g.peers, freeAddress(t))
	}
	return g
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// replica is one running source-controller.
type replica struct {
	t     *testing.T
	cmd   *exec.Cmd
	addr  string // of its file server
	dir   string
	log   string
	ended chan struct{}
}

// start runs a replica with the number 0 or 1, as a user of that name, over a folder.
func (g *rig) start(number int, dir string) *replica {
	g.t.Helper()
	bin, err := filepath.Abs("../../bin/source-controller")
	must(g.t, err)
	if _, err := os.Stat(bin); err != nil {
		g.t.Fatal("no source-controller in bin: run make build first")
	}
	r := &replica{t: g.t, addr: g.peers[number], dir: dir, log: filepath.Join(g.t.TempDir(), "log"), ended: make(chan struct{})}
	out, err := os.Create(r.log)
	must(g.t, err)
	defer out.Close()
	args := append([]string{
		"--storage-path=" + dir, "--storage-addr=" + r.addr, "--storage-adv-addr=" + g.peers[0], "--storage-peers=" + strings.Join(g.peers, ","),
		"--metrics-addr=0", "--health-addr=0", "--enable-leader-election", "--watch-all-namespaces=false",
	}, g.flags...)
	r.cmd = exec.Command(bin, args...)
	r.cmd.Env = append(os.Environ(), "KUBECONFIG="+g.kubeconfig(number), "RUNTIME_NAMESPACE="+g.ns)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	must(g.t, r.cmd.Start())
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	g.t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.ended
		if g.t.Failed() {
			data, _ := os.ReadFile(r.log)
			g.t.Logf("log of replica %d:\n%s", number, data[max(0, len(data)-4000):])
		}
	})
	g.eventually("a replica answers its readiness probe", func() string {
		select {
		case <-r.ended:
			data, _ := os.ReadFile(r.log)
			g.t.Fatalf("replica %d ended:\n%s", number, data)
		default:
		}
		if code, _ := g.get(r, "", ""); code != http.StatusOK {
			return fmt.Sprint(code)
		}
		return ""
	})
	return r
}

// kubeconfig makes the replica a user of its own, so that the audit log tells who wrote.
func (g *rig) kubeconfig(number int) string {
	g.t.Helper()
	cfg, err := clientcmd.LoadFromFile(testenv.Kubeconfig(g.t))
	must(g.t, err)
	for _, user := range cfg.AuthInfos {
		user.Impersonate, user.ImpersonateGroups = g.user(number), []string{"system:masters"}
	}
	file := filepath.Join(g.t.TempDir(), "kubeconfig")
	must(g.t, clientcmd.WriteToFile(*cfg, file))
	return file
}

func (g *rig) user(number int) string { return fmt.Sprintf("replica-%d-of-%s", number, g.ns) }

func (r *replica) signal(s syscall.Signal) {
	r.t.Helper()
	must(r.t, r.cmd.Process.Signal(s))
}

func (r *replica) wait() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("the replica does not end")
	}
}

func (g *rig) eventually(what string, try func() (missing string)) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	for {
		missing := try()
		if missing == "" {
			return
		}
		select {
		case <-ctx.Done():
			g.t.Fatalf("%s: still not: %s", what, missing)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get asks a replica's file server.
func (g *rig) get(r *replica, path, token string) (int, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+r.addr+"/"+path, nil)
	must(g.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(g.t, err)
	return resp.StatusCode, string(body)
}

// open begins to download an artifact. What is returned has all of it.
func (g *rig) open(r *replica, path, token string) io.ReadCloser {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+r.addr+"/"+path, nil)
	must(g.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	must(g.t, err)
	if resp.StatusCode != http.StatusOK {
		g.t.Fatalf("GET %s answers %s", path, resp.Status)
	}
	return resp.Body
}

// holder returns who has the lease, and since when.
func (g *rig) holder() (string, time.Time) {
	g.t.Helper()
	leases := &coordinationv1.LeaseList{}
	must(g.t, g.c.List(g.t.Context(), leases, client.InNamespace(g.ns)))
	for _, l := range leases.Items {
		if l.Spec.HolderIdentity != nil && l.Spec.AcquireTime != nil {
			return *l.Spec.HolderIdentity, l.Spec.AcquireTime.Time
		}
	}
	return "", time.Time{}
}

// taken waits until somebody else than before has the lease.
func (g *rig) taken(before string) string {
	g.t.Helper()
	var now string
	g.eventually("another replica takes the lease", func() string {
		if now, _ = g.holder(); now == "" || now == before {
			return "it is held by " + now
		}
		return ""
	})
	return now
}

// create makes a HelmRepository that follows the upstream.
func (g *rig) create(name string) *sourcev1.HelmRepository {
	g.t.Helper()
	repo := &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name}, Spec: sourcev1.HelmRepositorySpec{
		URL: g.up.URL, Interval: duration.New(time.Hour),
	}}
	must(g.t, g.c.Create(g.t.Context(), repo))
	return repo
}

func (g *rig) read(repo *sourcev1.HelmRepository) *sourcev1.HelmRepository {
	g.t.Helper()
	must(g.t, g.c.Get(g.t.Context(), client.ObjectKeyFromObject(repo), repo))
	return repo
}

// ready waits for Ready=True with the given revision's version in the index.
func (g *rig) ready(repo *sourcev1.HelmRepository, request string) {
	g.t.Helper()
	g.eventually("the repository is ready", func() string {
		g.read(repo)
		if !apimeta.IsStatusConditionTrue(repo.Status.Conditions, meta.ReadyCondition) || repo.Status.LastHandledReconcileAt != request {
			return fmt.Sprintf("%+v", repo.Status)
		}
		return ""
	})
}

// request asks for a reconciliation.
func (g *rig) request(repo *sourcev1.HelmRepository, token string) {
	g.t.Helper()
	before := g.read(repo).DeepCopy()
	if repo.Annotations == nil {
		repo.Annotations = map[string]string{}
	}
	repo.Annotations[meta.ReconcileRequestAnnotation] = token
	must(g.t, g.c.Patch(g.t.Context(), repo, client.MergeFrom(before)))
}
