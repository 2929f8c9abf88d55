package ocirepository

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/signature"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// Media types of what the tests push.
const (
	contentType = "application/vnd.cncf.flux.content.v1.tar+gzip"
	otherType   = "application/vnd.test.other"
)

// password protects the registry of a rig; the user is "robot".
const password = "correct-horse-battery"

// rig is a reconciler on a real API server, a store of its own and a registry
// behind TLS and a password.
type rig struct {
	t        *testing.T
	c        client.Client
	ns       string
	storage  string
	o        Options
	env      *process.Env
	recorder *record.FakeRecorder
	r        *loop.Reconciler[*sourcev1.OCIRepository]
	limits   artifact.FetcherOptions

	handler http.Handler // the registry itself
	front   *httptest.Server
	back    *httptest.Server // the same without TLS and password, to push

	mu   sync.Mutex
	wrap func(http.Handler) http.Handler // replaces the front when set
	seen []string                        // "METHOD path" of requests to the front that were let in
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{
		t: t, c: testenv.Client(t, sourcev1.AddToScheme), ns: testenv.Namespace(t), storage: t.TempDir(),
		handler: sourcetest.Registry(),
	}
	g.back = httptest.NewServer(g.handler)
	g.front = httptest.NewUnstartedServer(http.HandlerFunc(g.serve))
	g.front.Config.ErrorLog = log.New(io.Discard, "", 0)
	g.front.StartTLS()
	t.Cleanup(g.back.Close)
	t.Cleanup(g.front.Close)
	g.env, g.recorder = sourcetest.Env(g.c)
	g.restart()
	g.secret("login", corev1.DockerConfigJsonKey, g.login(password))
	g.secret("ca", "ca.crt", g.ca())
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	sourcetest.Must(t, err)
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.t.Helper()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: g.storage, Host: "source-controller.test"})
	must(g.t, err)
	limits := g.limits
	limits.Dir = g.storage + "/.weir/unpacked"
	fetcher, err := artifact.NewFetcher(limits)
	must(g.t, err)
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.c})
	must(g.t, err)
	g.o = Options{Client: g.c, Logins: logins, Recorder: g.env.Recorder, Store: store, Fetcher: fetcher, Registry: &registry.Client{}, Public: &signature.Public{URL: "http://127.0.0.1:1"}}
	g.r = loop.New[*sourcev1.OCIRepository](g.env, New(g.o))
}

// serve is the registry's front door.
func (g *rig) serve(w http.ResponseWriter, r *http.Request) {
	if user, word, _ := r.BasicAuth(); user != "robot" || word != password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	g.mu.Lock()
	g.seen = append(g.seen, r.Method+" "+r.URL.Path)
	wrap := g.wrap
	g.mu.Unlock()
	if wrap != nil {
		wrap(g.handler).ServeHTTP(w, r)
		return
	}
	g.handler.ServeHTTP(w, r)
}

// through makes requests go through wrap from now on.
func (g *rig) through(wrap func(http.Handler) http.Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrap = wrap
}

// requests returns what was asked since the last call.
func (g *rig) requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.seen
	g.seen = nil
	return out
}

func (g *rig) host() string { return strings.TrimPrefix(g.front.URL, "https://") }

func (g *rig) ca() []byte { return []byte(sourcetest.Authority(g.front)) }

// login is a Docker configuration for the registry.
func (g *rig) login(word string) []byte {
	data, err := json.Marshal(map[string]any{"auths": map[string]any{g.host(): map[string]string{"username": "robot", "password": word}}})
	must(g.t, err)
	return data
}

func (g *rig) secret(name string, pairs ...any) {
	g.t.Helper()
	data := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i].(string)] = fmt.Sprintf("%s", pairs[i+1])
	}
	sourcetest.Secret(g.t, g.c, g.ns, name, data)
}

// tarball is a tar.gz archive of the given files.
func tarball(t testing.TB, files map[string]string) []byte {
	t.Helper()
	return sourcetest.Tarball(t, "", files)
}

func archive(t testing.TB, write func(*tar.Writer)) []byte {
	t.Helper()
	return sourcetest.Archive(t, write)
}

// image is an artifact with the given layers.
func image(t testing.TB, annotations map[string]string, layers ...v1.Layer) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.flux.config.v1+json")
	img, err := mutate.AppendLayers(base, layers...)
	must(t, err)
	return mutate.Annotations(img, annotations).(v1.Image)
}

func layer(data []byte, mediaType string) v1.Layer {
	return static.NewLayer(data, types.MediaType(mediaType))
}

// push puts an artifact into the registry, under a tag, and returns its digest.
func (g *rig) push(repository, tag string, img v1.Image) string {
	g.t.Helper()
	ref, err := name.NewTag(strings.TrimPrefix(g.back.URL, "http://") + "/" + repository + ":" + tag)
	must(g.t, err)
	must(g.t, remote.Write(ref, img))
	h, err := img.Digest()
	must(g.t, err)
	return h.String()
}

// files pushes an artifact with one layer.
func (g *rig) files(repository, tag string, files map[string]string) string {
	g.t.Helper()
	return g.push(repository, tag, image(g.t, nil, layer(tarball(g.t, files), contentType)))
}

// create makes an OCIRepository of the same name as the registry's.
func (g *rig) create(name string, change func(*sourcev1.OCIRepositorySpec)) {
	g.t.Helper()
	repo := &sourcev1.OCIRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name},
		Spec: sourcev1.OCIRepositorySpec{
			URL: "oci://" + g.host() + "/" + name, Interval: duration.New(time.Hour),
			SecretRef: &meta.LocalObjectReference{Name: "login"}, CertSecretRef: &meta.LocalObjectReference{Name: "ca"},
		},
	}
	if change != nil {
		change(&repo.Spec)
	}
	must(g.t, g.c.Create(g.t.Context(), repo))
}

func (g *rig) get(name string) *sourcev1.OCIRepository {
	g.t.Helper()
	repo := &sourcev1.OCIRepository{}
	must(g.t, g.c.Get(g.t.Context(), client.ObjectKey{Namespace: g.ns, Name: name}, repo))
	return repo
}

func (g *rig) update(name string, change func(*sourcev1.OCIRepositorySpec)) {
	g.t.Helper()
	repo := g.get(name)
	change(&repo.Spec)
	must(g.t, g.c.Update(g.t.Context(), repo))
}

func (g *rig) key(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: g.ns, Name: name}}
}

// reconcile runs one reconciliation and returns the object after it.
func (g *rig) reconcile(name string) *sourcev1.OCIRepository {
	g.t.Helper()
	_, _ = g.r.Reconcile(g.t.Context(), g.key(name)) // the object says what became of it
	return g.get(name)
}

// ready is reconcile that must succeed.
func (g *rig) ready(name string) *sourcev1.OCIRepository {
	g.t.Helper()
	repo := g.reconcile(name)
	sourcetest.Ready(g.t, repo)
	return repo
}

// fails is reconcile that must end in Ready=False with the given reason and a
// message that has all the texts in it.
func (g *rig) fails(name, reason string, texts ...string) *sourcev1.OCIRepository {
	g.t.Helper()
	repo := g.reconcile(name)
	sourcetest.Failed(g.t, repo, reason, texts, g.storage, password)
	return repo
}

func stalled(repo *sourcev1.OCIRepository) bool { return sourcetest.Stalled(repo) }

// told returns the events since the last call, as "<type> <reason> <message> …".
func (g *rig) told() []string { return sourcetest.Told(g.recorder) }

// served downloads a path of the file server.
func (g *rig) served(path string) []byte {
	g.t.Helper()
	return sourcetest.Served(g.t, g.o.Store.Handler(), path)
}

// content returns the files of an artifact.
func (g *rig) content(a *meta.Artifact) map[string]string {
	g.t.Helper()
	return sourcetest.Files(g.t, g.served(a.Path))
}

// pushIndex puts an index of an image for linux/arm64 and one for linux/amd64 into
// the registry.
func (g *rig) pushIndex(repository, tag string, arm, amd v1.Image) string {
	g.t.Helper()
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	ref, err := name.NewTag(strings.TrimPrefix(g.back.URL, "http://") + "/" + repository + ":" + tag)
	must(g.t, err)
	must(g.t, remote.WriteIndex(ref, index))
	h, err := index.Digest()
	must(g.t, err)
	return h.String()
}
