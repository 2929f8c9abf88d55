package gitrepository

import (
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// rig is a reconciler on a real API server, a store of its own and a Git server.
type rig struct {
	t       *testing.T
	c       client.Client
	ns      string
	git     *gitserver.Server
	storage string
	share   time.Duration // for how long a poll's answer is shared
	o       Options
	// allowLocal lets repositories name other servers of this machine, from the next restart on.
	allowLocal bool
	env        *process.Env
	events     *record.FakeRecorder
	r          *loop.Reconciler[*sourcev1.GitRepository]
}

func newRig(t *testing.T, o gitserver.Options) *rig {
	t.Helper()
	srv, err := gitserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	g := &rig{t: t, c: testenv.Client(t, sourcev1.AddToScheme), ns: testenv.Namespace(t), git: srv, storage: t.TempDir(), share: -1}
	g.env, g.events = sourcetest.Env(g.c)
	g.restart()
	return g
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.t.Helper()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: g.storage, Host: "source-controller.test"})
	if err != nil {
		g.t.Fatal(err)
	}
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: g.storage + "/.weir/unpacked"})
	if err != nil {
		g.t.Fatal(err)
	}
	if g.o.Mirrors != nil {
		if err := g.o.Mirrors.Close(); err != nil {
			g.t.Fatal(err)
		}
	}
	mirrors, err := gitrepo.NewPool(gitrepo.Options{Dir: g.storage + "/.weir/git", PollShare: g.share, AllowLocal: g.allowLocal})
	if err != nil {
		g.t.Fatal(err)
	}
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.c})
	if err != nil {
		g.t.Fatal(err)
	}
	g.o = Options{Client: g.c, Recorder: g.env.Recorder, Store: store, Fetcher: fetcher, Mirrors: mirrors, Auth: gitauth.New(gitauth.Options{Secrets: g.c, Logins: logins, Apps: githubapp.NewTokens(githubapp.TokensOptions{})}), RequeueDependency: time.Minute}
	g.r = loop.New[*sourcev1.GitRepository](g.env, New(g.o))
}

// create makes a GitRepository that follows the branch main of the server's
// repository of the same name.
func (g *rig) create(name string, change func(*sourcev1.GitRepository)) {
	g.t.Helper()
	repo := &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name},
		Spec: sourcev1.GitRepositorySpec{
			URL: g.git.URL(name), Interval: duration.New(time.Hour),
			Reference: &sourcev1.GitRepositoryRef{Branch: gitserver.Branch},
		},
	}
	if change != nil {
		change(repo)
	}
	if err := g.c.Create(g.t.Context(), repo); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) init(name string, files map[string]string) {
	g.t.Helper()
	if err := g.git.Init(name, files); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) commit(name, message string, files map[string]string, remove ...string) string {
	g.t.Helper()
	hash, err := g.git.Commit(name, gitserver.Branch, message, files, remove...)
	if err != nil {
		g.t.Fatal(err)
	}
	return hash
}

func (g *rig) get(name string) *sourcev1.GitRepository {
	g.t.Helper()
	repo := &sourcev1.GitRepository{}
	if err := g.c.Get(g.t.Context(), client.ObjectKey{Namespace: g.ns, Name: name}, repo); err != nil {
		g.t.Fatal(err)
	}
	return repo
}

func (g *rig) update(name string, change func(*sourcev1.GitRepository)) {
	g.t.Helper()
	repo := g.get(name)
	change(repo)
	if err := g.c.Update(g.t.Context(), repo); err != nil {
		g.t.Fatal(err)
	}
}

// reconcile runs one reconciliation and returns the object after it.
func (g *rig) reconcile(name string) *sourcev1.GitRepository {
	g.t.Helper()
	g.r.Reconcile(g.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: g.ns, Name: name}}) // the object says what became of it
	return g.get(name)
}

// ready is reconcile that must succeed.
func (g *rig) ready(name string) *sourcev1.GitRepository {
	g.t.Helper()
	repo := g.reconcile(name)
	sourcetest.Ready(g.t, repo)
	return repo
}

// fails is reconcile that must end in Ready=False with the given reason and a
// message that has all the texts in it.
func (g *rig) fails(name, reason string, texts ...string) *sourcev1.GitRepository {
	g.t.Helper()
	repo := g.reconcile(name)
	sourcetest.Failed(g.t, repo, reason, texts, g.storage)
	return repo
}

// told returns the events since the last call, as "<type> <reason> <message> …".
func (g *rig) told() []string { return sourcetest.Told(g.events) }

// files downloads the artifact and returns its files.
func (g *rig) files(a *meta.Artifact) map[string]string {
	g.t.Helper()
	return sourcetest.Files(g.t, sourcetest.Served(g.t, g.o.Store.Handler(), a.Path))
}

func names(files map[string]string) []string {
	var out []string
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
