package kustomization

import (
	"io"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/kustomize-controller/internal/remote"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{After: func() { stopFar() }})
}

// patience bounds the waits for watches.
const patience = 30 * time.Second

// rig is a source with an artifact, and a Reconciler.
type rig struct {
	*testing.T
	client.Client
	ns       string
	store    *artifact.Store
	o        Options
	worker   *Reconciler
	loop     *loop.Reconciler[*kustomizev1.Kustomization]
	recorder *events.Recorder
	events   *record.FakeRecorder
	rung     chan types.NamespacedName
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{
		T: t, Client: testenv.Client(t, kustomizev1.AddToScheme, sourcev1.AddToScheme), ns: testenv.Namespace(t),
		events: record.NewFakeRecorder(1000), rung: make(chan types.NamespacedName, 1000),
	}
	server := httptest.NewUnstartedServer(nil)
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), Host: server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = store.Handler()
	server.Start()
	t.Cleanup(server.Close)
	g.store = store
	g.recorder = events.New(events.Options{Controller: "kustomize-controller", Scheme: g.Scheme(), Kubernetes: g.events})
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	g.o = Options{
		Client: g.Client, Live: g.Client, Recorder: g.recorder, Fetcher: fetcher, Builder: build.New(build.Options{}),
		RequeueDependency: time.Minute, FetchPatience: patience, BuildPatience: patience, // so that one call does all, on a slow machine, too
	}
	g.restart()
	return g
}

// restart is a new process: nothing is remembered.
func (g *rig) restart() {
	g.Helper()
	applying := apply.Options{Notify: func(owner types.NamespacedName) { g.rung <- owner }}
	cluster, err := apply.NewCluster(testenv.Config(g.T), applying)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(cluster.Close)
	g.o.Cluster = cluster
	g.o.Remote = remote.New(applying, remote.Policy{})
	g.Cleanup(g.o.Remote.Close)
	g.worker = New(g.o)
	g.loop = loop.New(&process.Env{FieldOwner: "gotk-kustomize-controller", Manager: testenv.Direct(g.Client), Recorder: g.recorder}, g.worker)
}

// publish makes the files the artifact of GitRepository "source".
func (g *rig) publish(revision string, files map[string]string) {
	g.Helper()
	blob, err := g.store.Pack(g.Context(), memorySource(files), artifact.PackOptions{})
	if err != nil {
		g.Fatal(err)
	}
	a, err := g.store.Publish(artifact.Publication{
		Object: artifact.Object{Kind: "GitRepository", Namespace: g.ns, Name: "source"}, File: revision + ".tar.gz", Revision: revision,
	}, blob)
	if err != nil {
		g.Fatal(err)
	}
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "source", Namespace: g.ns}}
	err = g.Get(g.Context(), client.ObjectKeyFromObject(repo), repo)
	if client.IgnoreNotFound(err) != nil {
		g.Fatal(err)
	}
	if err != nil {
		repo.Spec = sourcev1.GitRepositorySpec{URL: "https://example.com/source.git", Interval: duration.New(time.Hour)}
		if err := g.Create(g.Context(), repo); err != nil {
			g.Fatal(err)
		}
	}
	repo.Status.Artifact = a
	if err := g.Status().Update(g.Context(), repo); err != nil {
		g.Fatal(err)
	}
}

// memorySource is an artifact.Source over a map of paths.
type memorySource map[string]string

// ID says that nothing is known of the whole, so content decides.
func (m memorySource) ID() string { return "" }

func (m memorySource) ReadDir(dir string) ([]artifact.Entry, error) {
	found := map[string]artifact.Entry{}
	for p := range m {
		rest := p
		if dir != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(p, dir+"/"); !ok {
				continue
			}
		}
		name, _, sub := strings.Cut(rest, "/")
		found[name] = artifact.Entry{Name: name, Dir: sub}
	}
	out := make([]artifact.Entry, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b artifact.Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (m memorySource) Open(p string, _ artifact.Entry) (io.ReadCloser, int64, error) {
	text := m[path.Clean(p)]
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
}

// kustomization makes an object that applies the artifact's folder ./app.
func (g *rig) kustomization(name string, change func(*kustomizev1.KustomizationSpec)) {
	g.Helper()
	k := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.ns},
		Spec: kustomizev1.KustomizationSpec{
			Interval: duration.New(time.Hour), Prune: true, Path: "./app", TargetNamespace: g.ns,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "source"},
		},
	}
	if change != nil {
		change(&k.Spec)
	}
	if err := g.Create(g.Context(), k); err != nil {
		g.Fatal(err)
	}
}

func (g *rig) key(name string) client.ObjectKey { return client.ObjectKey{Namespace: g.ns, Name: name} }

// reconcile runs once and returns the object after it.
func (g *rig) reconcile(name string) (*kustomizev1.Kustomization, ctrl.Result) {
	g.Helper()
	result, _ := g.loop.Reconcile(g.Context(), ctrl.Request{NamespacedName: g.key(name)}) // the error is in the condition, too
	k := &kustomizev1.Kustomization{}
	if err := g.Get(g.Context(), g.key(name), k); client.IgnoreNotFound(err) != nil {
		g.Fatal(err)
	}
	return k, result
}

// edit changes the spec of an object.
func (g *rig) edit(name string, change func(*kustomizev1.Kustomization)) {
	g.Helper()
	k := &kustomizev1.Kustomization{}
	if err := g.Get(g.Context(), g.key(name), k); err != nil {
		g.Fatal(err)
	}
	change(k)
	if err := g.Update(g.Context(), k); err != nil {
		g.Fatal(err)
	}
}

// awaitBell waits until the object is called for.
func (g *rig) awaitBell(name string) {
	g.Helper()
	for {
		select {
		case key := <-g.rung:
			if key == g.key(name) {
				return
			}
		case <-time.After(patience):
			g.Fatalf("nobody rang for %s", name)
		}
	}
}

func (g *rig) wantReady(k *kustomizev1.Kustomization, status metav1.ConditionStatus, reason string) string {
	g.Helper()
	c := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition)
	if c == nil || c.Status != status || c.Reason != reason {
		g.Fatalf("Ready = %+v, want %s for %s", c, status, reason)
	}
	return c.Message
}

func (g *rig) told() []string {
	var out []string
	for {
		select {
		case e := <-g.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}
