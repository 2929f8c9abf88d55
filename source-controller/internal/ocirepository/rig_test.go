package ocirepository

import (
	"archive/tar"
	"encoding/json"
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
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
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

var must = sourcetest.Must

// rig reconciles OCIRepositories of a registry behind TLS and a password.
type rig struct {
	*sourcetest.Rig[*sourcev1.OCIRepository]
	limits artifact.FetcherOptions

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
		Rig:     sourcetest.NewRig(t, func() *sourcev1.OCIRepository { return &sourcev1.OCIRepository{} }, password),
		handler: sourcetest.Registry(),
	}
	g.back = httptest.NewServer(g.handler)
	t.Cleanup(g.back.Close)
	g.front = sourcetest.TLS(t, http.HandlerFunc(g.serve))
	g.restart()
	g.Secret("login", corev1.DockerConfigJsonKey, g.login(password))
	g.Secret("ca", "ca.crt", g.ca())
	return g
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.T.Helper()
	g.OpenStore()
	limits := g.limits
	limits.Dir = g.Storage + "/.weir/unpacked"
	fetcher, err := artifact.NewFetcher(limits)
	must(g.T, err)
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.C})
	must(g.T, err)
	g.Loop = loop.New[*sourcev1.OCIRepository](g.Env, New(Options{
		Client: g.C, Logins: logins, Recorder: g.Env.Recorder, Store: g.Store, Fetcher: fetcher, Registry: &registry.Client{}, Public: &signature.Public{URL: "http://127.0.0.1:1"},
	}))
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

func (g *rig) ca() string { return sourcetest.Authority(g.front) }

// login is a Docker configuration for the registry.
func (g *rig) login(word string) string {
	data, err := json.Marshal(map[string]any{"auths": map[string]any{g.host(): map[string]string{"username": "robot", "password": word}}})
	must(g.T, err)
	return string(data)
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
	g.T.Helper()
	ref, err := name.NewTag(strings.TrimPrefix(g.back.URL, "http://") + "/" + repository + ":" + tag)
	must(g.T, err)
	must(g.T, remote.Write(ref, img))
	h, err := img.Digest()
	must(g.T, err)
	return h.String()
}

// files pushes an artifact with one layer.
func (g *rig) files(repository, tag string, files map[string]string) string {
	g.T.Helper()
	return g.push(repository, tag, image(g.T, nil, layer(tarball(g.T, files), contentType)))
}

// create makes an OCIRepository of the same name as the registry's.
func (g *rig) create(name string, change func(*sourcev1.OCIRepositorySpec)) {
	g.T.Helper()
	repo := &sourcev1.OCIRepository{
		ObjectMeta: g.Meta(name),
		Spec: sourcev1.OCIRepositorySpec{
			URL: "oci://" + g.host() + "/" + name, Interval: duration.New(time.Hour),
			SecretRef: &meta.LocalObjectReference{Name: "login"}, CertSecretRef: &meta.LocalObjectReference{Name: "ca"},
		},
	}
	if change != nil {
		change(&repo.Spec)
	}
	must(g.T, g.C.Create(g.T.Context(), repo))
}

func (g *rig) update(name string, change func(*sourcev1.OCIRepositorySpec)) {
	g.T.Helper()
	g.Update(name, func(r *sourcev1.OCIRepository) { change(&r.Spec) })
}

func (g *rig) request(name string) ctrl.Request { return ctrl.Request{NamespacedName: g.Key(name)} }

// pushIndex puts an index of an image for linux/arm64 and one for linux/amd64 into
// the registry.
func (g *rig) pushIndex(repository, tag string, arm, amd v1.Image) string {
	g.T.Helper()
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	ref, err := name.NewTag(strings.TrimPrefix(g.back.URL, "http://") + "/" + repository + ":" + tag)
	must(g.T, err)
	must(g.T, remote.WriteIndex(ref, index))
	h, err := index.Digest()
	must(g.T, err)
	return h.String()
}
