package helmchart

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/gitrepository"
	"github.com/weirhq/weir/source-controller/internal/helmrepository"
	"github.com/weirhq/weir/source-controller/internal/signature"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const password = "correct-horse-battery"

var must = sourcetest.Must

// rig reconciles HelmCharts of a Helm repository behind a password, a registry and a Git
// server. Their objects are "web", "oci" and "git".
type rig struct {
	*sourcetest.Rig[*sourcev1.HelmChart]
	mirrors *gitrepo.Pool
	repo    reconcile.Reconciler
	gitRepo reconcile.Reconciler
	web     *httptest.Server
	oci     *httptest.Server
	git     *gitserver.Server

	mu       sync.Mutex
	archives map[string][]byte
	index    string
	seen     []string
	hook     http.HandlerFunc // answers in place of the archives, unless it is nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{Rig: sourcetest.NewRig(t, func() *sourcev1.HelmChart { return &sourcev1.HelmChart{} }, password), archives: map[string][]byte{}}
	g.web = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.web.Close)
	g.oci = httptest.NewServer(sourcetest.Registry())
	t.Cleanup(g.oci.Close)
	var err error
	g.git, err = gitserver.Start(gitserver.Options{})
	must(t, err)
	t.Cleanup(func() { g.git.Close() })
	g.restart()
	g.Secret("login", "username", "robot", "password", password)
	must(t, g.C.Create(t.Context(), &sourcev1.HelmRepository{ObjectMeta: g.Meta("web"), Spec: sourcev1.HelmRepositorySpec{URL: g.web.URL + "/charts", SecretRef: &meta.LocalObjectReference{Name: "login"}}}))
	must(t, g.C.Create(t.Context(), &sourcev1.HelmRepository{ObjectMeta: g.Meta("oci"), Spec: sourcev1.HelmRepositorySpec{Type: "oci", URL: "oci://" + g.host() + "/charts"}}))
	return g
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.T.Helper()
	g.OpenStore()
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: g.Storage + "/.weir/unpacked"})
	must(g.T, err)
	if g.mirrors != nil {
		must(g.T, g.mirrors.Close())
	}
	g.mirrors, err = gitrepo.NewPool(gitrepo.Options{Dir: g.Storage + "/.weir/git", PollShare: -1})
	must(g.T, err)
	indexes := chartindex.NewCache(0, 0)
	g.repo = loop.New[*sourcev1.HelmRepository](g.Env, helmrepository.New(helmrepository.Options{Client: g.C, Recorder: g.Env.Recorder, Store: g.Store, HTTP: &chartrepo.Client{}, Indexes: indexes}))
	g.gitRepo = loop.New[*sourcev1.GitRepository](g.Env, gitrepository.New(gitrepository.Options{
		Client: g.C, Recorder: g.Env.Recorder, Store: g.Store, Fetcher: fetcher, Mirrors: g.mirrors, Auth: gitauth.New(gitauth.Options{Secrets: g.C}),
	}))
	g.Loop = loop.New[*sourcev1.HelmChart](g.Env, New(Options{
		Client: g.C, Live: g.C, Recorder: g.Env.Recorder, Store: g.Store, Fetcher: fetcher, HTTP: &chartrepo.Client{}, Indexes: indexes,
		Registry: &registry.Client{}, Public: &signature.Public{URL: "http://127.0.0.1:1"}, RequeueDependency: time.Minute,
	}))
}

func (g *rig) host() string { return strings.TrimPrefix(g.oci.URL, "http://") }

func (g *rig) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.seen = append(g.seen, r.URL.Path)
	index, hook := g.index, g.hook
	data, found := g.archives[strings.TrimPrefix(r.URL.Path, "/charts/")]
	g.mu.Unlock()
	user, word, _ := r.BasicAuth()
	switch {
	case user != "robot" || word != password:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case r.URL.Path == "/charts/index.yaml":
		_, _ = io.WriteString(w, index)
	case hook != nil:
		hook(w, r)
	case !found:
		http.NotFound(w, r)
	default:
		_, _ = w.Write(data)
	}
}

// attack has the hook answer in place of the archives.
func (g *rig) attack(hook http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = hook
}

func (g *rig) requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.seen
	g.seen = nil
	return out
}

// archive is a tar.gz archive of files, in the folder of the name.
func archive(t testing.TB, folder string, files map[string]string) []byte {
	t.Helper()
	return sourcetest.Tarball(t, folder+"/", files)
}

func metadata(name, version string) string {
	return fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\nx-own: kept\n", name, version)
}

func files(name, version string) map[string]string {
	return map[string]string{"Chart.yaml": metadata(name, version), "values.yaml": "a: {b: 1, c: 1}\n", "prod.yaml": "a: {c: 2}\n", "templates/x.yaml": "x: {{ .Values.a.b }}\n"}
}

// offer puts charts into the Helm repository, "name@version" each, and has the
// HelmRepository reconciled. A chart "app@1.0.0!" has a wrong digest in the index.
func (g *rig) offer(charts ...string) {
	g.T.Helper()
	index := "apiVersion: v1\nentries:\n"
	slices.Sort(charts)
	last := ""
	for _, c := range charts {
		n, version, _ := strings.Cut(strings.TrimSuffix(c, "!"), "@")
		if n != last {
			index, last = index+"  "+n+":\n", n
		}
		data := archive(g.T, n, files(n, version))
		sum := sha256.Sum256(data)
		if strings.HasSuffix(c, "!") {
			sum = sha256.Sum256(nil)
		}
		g.put(n+"-"+version+".tgz", data)
		index += fmt.Sprintf("  - name: %s\n    version: %s\n    digest: '%x'\n    urls:\n    - %s-%s.tgz\n", n, version, sum, n, version)
	}
	g.publish(index)
}

func (g *rig) put(name string, data []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.archives[name] = data
}

func (g *rig) publish(index string) {
	g.T.Helper()
	g.mu.Lock()
	g.index = index
	g.mu.Unlock()
	_, err := g.repo.Reconcile(g.T.Context(), g.request("web"))
	must(g.T, err)
	g.Told()
	g.requests()
}

// push puts a chart into the registry, and returns its digest.
func (g *rig) push(repository, tag string, data []byte) name.Digest {
	g.T.Helper()
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(empty.Image, "application/vnd.cncf.helm.config.v1+json"), static.NewLayer(data, layerType))
	must(g.T, err)
	ref, err := name.NewTag(g.host() + "/" + repository + ":" + tag)
	must(g.T, err)
	must(g.T, remote.Write(ref, img))
	sum, err := img.Digest()
	must(g.T, err)
	return ref.Digest(sum.String())
}

// commit makes a Git repository of the files, or changes it, and has its artifact
// published.
func (g *rig) commit(files map[string]string) *sourcev1.GitRepository {
	g.T.Helper()
	repo := &sourcev1.GitRepository{}
	if g.C.Get(g.T.Context(), g.Key("git"), repo) != nil {
		must(g.T, g.git.Init("git", files))
		must(g.T, g.C.Create(g.T.Context(), &sourcev1.GitRepository{ObjectMeta: g.Meta("git"), Spec: sourcev1.GitRepositorySpec{
			URL: g.git.URL("git"), Interval: duration.New(time.Hour), Reference: &sourcev1.GitRepositoryRef{Branch: gitserver.Branch},
		}}))
	} else {
		_, err := g.git.Commit("git", gitserver.Branch, "change", files)
		must(g.T, err)
	}
	_, err := g.gitRepo.Reconcile(g.T.Context(), g.request("git"))
	must(g.T, err)
	must(g.T, g.C.Get(g.T.Context(), g.Key("git"), repo))
	g.Told()
	return repo
}

func (g *rig) create(name, kind, source, chart string, change func(*sourcev1.HelmChartSpec)) {
	g.T.Helper()
	obj := &sourcev1.HelmChart{ObjectMeta: g.Meta(name), Spec: sourcev1.HelmChartSpec{
		Chart: chart, Interval: duration.New(time.Hour), SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: kind, Name: source},
	}}
	if change != nil {
		change(&obj.Spec)
	}
	must(g.T, g.C.Create(g.T.Context(), obj))
}

func (g *rig) request(name string) ctrl.Request { return ctrl.Request{NamespacedName: g.Key(name)} }

// fails is Reconcile that must end without being ready, for the given reason.
func (g *rig) fails(name, reason, text string) *sourcev1.HelmChart {
	g.T.Helper()
	obj := g.Reconcile(name)
	c := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionFalse && c.Status != metav1.ConditionUnknown || c.Reason != reason || !strings.Contains(c.Message, text) {
		g.T.Fatalf("%s: Ready is %+v, want reason %s and %q", name, c, reason, text)
	}
	if strings.Contains(c.Message, password) {
		g.T.Errorf("the message tells too much: %s", c.Message)
	}
	return obj
}
