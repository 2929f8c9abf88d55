package helmrepository

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ctrl "sigs.k8s.io/controller-runtime"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const password = "correct-horse-battery"

var must = sourcetest.Must

// rig reconciles HelmRepositories of one that is behind TLS and a password.
type rig struct {
	*sourcetest.Rig[*sourcev1.HelmRepository]
	front *httptest.Server

	mu    sync.Mutex
	index string // what the repository serves
	serve http.HandlerFunc
	seen  []string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{Rig: sourcetest.NewRig(t, func() *sourcev1.HelmRepository { return &sourcev1.HelmRepository{} }, password), index: index("1.0.0")}
	g.front = sourcetest.TLS(t, http.HandlerFunc(g.answer))
	g.restart(0)
	g.Secret("login", "username", "robot", "password", password)
	g.Secret("ca", "ca.crt", sourcetest.Authority(g.front))
	return g
}

func index(versions ...string) string {
	out := "apiVersion: v1\nentries:\n  app:\n"
	for _, v := range versions {
		out += fmt.Sprintf("  - name: app\n    version: %s\n    urls:\n    - app-%s.tgz\n", v, v)
	}
	return out
}

// restart is a new process over the same storage.
func (g *rig) restart(maxIndex int64) {
	g.T.Helper()
	g.OpenStore()
	g.Loop = New(Options{Client: g.C, Recorder: g.Env.Recorder, Store: g.Store, HTTP: &chartrepo.Client{}, Indexes: chartindex.NewCache(0, 0), MaxIndex: maxIndex}).entry(g.Env)
}

func (g *rig) answer(w http.ResponseWriter, r *http.Request) {
	g.note(r.Method + " " + r.URL.Path)
	g.mu.Lock()
	text, serve := g.index, g.serve
	g.mu.Unlock()
	if user, word, _ := r.BasicAuth(); user != "robot" || word != password {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if serve != nil {
		serve(w, r)
		return
	}
	etag := `"` + digest.FromString(text).Encoded() + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		g.note("304")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = io.WriteString(w, text)
}

func (g *rig) note(seen string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, seen)
}

func (g *rig) set(text string, serve http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.index, g.serve = text, serve
}

func (g *rig) requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.seen
	g.seen = nil
	return out
}

func (g *rig) create(name string, change func(*sourcev1.HelmRepositorySpec)) {
	g.T.Helper()
	repo := &sourcev1.HelmRepository{ObjectMeta: g.Meta(name), Spec: sourcev1.HelmRepositorySpec{
		URL: g.front.URL + "/charts", SecretRef: &meta.LocalObjectReference{Name: "login"}, CertSecretRef: &meta.LocalObjectReference{Name: "ca"},
	}}
	if change != nil {
		change(&repo.Spec)
	}
	must(g.T, g.C.Create(g.T.Context(), repo))
}

// served downloads a path of the file server.
func (g *rig) served(path string) string {
	g.T.Helper()
	return string(g.Served(path))
}

func TestPublish(t *testing.T) {
	g := newRig(t)
	g.create("app", nil)
	phases := map[string]float64{}
	for _, phase := range []string{"fetch", "pack"} {
		phases[phase] = testenv.Metric(t, "weir_phase_duration_seconds", "kind", "HelmRepository", "phase", phase)
	}
	repo := g.Ready("app")
	sum := digest.FromString(g.index)
	folder := "helmrepository/" + g.NS + "/app/"
	a := repo.Status.Artifact
	if a.Revision != sum.String() || a.Digest != sum.String() || a.Path != folder+"index-"+sum.Encoded()+".yaml" {
		t.Errorf("got the artifact %+v", a)
	}
	if g.served(a.Path) != g.index || g.served(folder+"index.yaml") != g.index {
		t.Error("something else is served")
	}
	if want := "http://source-controller.test/" + folder + "index.yaml"; repo.Status.URL != want {
		t.Errorf("status.url is %q", repo.Status.URL)
	}
	want := fmt.Sprintf("Normal NewArtifact stored fetched index of size %dB from '%s/charts'", len(g.index), g.front.URL)
	if told := g.Told(); len(told) != 1 || !strings.HasPrefix(told[0], want) {
		t.Errorf("got the events %q", told)
	}
	for _, phase := range []string{"fetch", "pack"} {
		if n := testenv.Metric(t, "weir_phase_duration_seconds", "kind", "HelmRepository", "phase", phase) - phases[phase]; n != 1 {
			t.Errorf("the phase %s was measured %v times", phase, n)
		}
	}
	g.requests()

	// Nothing new: one conditional request and no write.
	again := g.Ready("app")
	if diff := cmp.Diff([]string{"GET /charts/index.yaml", "304"}, g.requests()); diff != "" {
		t.Error(diff)
	}
	if again.ResourceVersion != repo.ResourceVersion || len(g.Told()) > 0 {
		t.Error("nothing new was news")
	}
	g.restart(0)
	if again = g.Ready("app"); again.ResourceVersion != repo.ResourceVersion {
		t.Error("a new process wrote status")
	}

	g.set(index("1.0.0", "1.1.0"), nil)
	if now := g.Ready("app"); now.Status.Artifact.Revision == a.Revision || g.served(folder+"index.yaml") != index("1.0.0", "1.1.0") {
		t.Error("the new index is not published")
	}
	must(t, g.C.Delete(t.Context(), repo))
	_, err := g.Loop.Reconcile(t.Context(), ctrl.Request{NamespacedName: g.Key("app")})
	must(t, err)
	w := httptest.NewRecorder()
	g.Store.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/"+a.Path, nil))
	if w.Code != http.StatusNotFound {
		t.Error("a deleted repository is still served")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.Secret("wrong", "username", "robot", "password", "wrong-password")
	g.Secret("half", "username", "robot")
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	for name, c := range map[string]struct {
		change       func(*sourcev1.HelmRepositorySpec)
		serve        http.HandlerFunc
		reason, text string
		stalls       bool
	}{
		"wrong-password": {change: func(s *sourcev1.HelmRepositorySpec) { s.SecretRef = ref("wrong") }, reason: "AuthenticationFailed", text: "401"},
		"half-a-secret":  {change: func(s *sourcev1.HelmRepositorySpec) { s.SecretRef = ref("half") }, reason: "AuthenticationFailed", text: `"half"`},
		"no-secret":      {change: func(s *sourcev1.HelmRepositorySpec) { s.SecretRef = ref("gone") }, reason: "AuthenticationFailed", text: "gone"},
		"no-ca":          {change: func(s *sourcev1.HelmRepositorySpec) { s.CertSecretRef = nil }, reason: "IndexationFailed", text: "certificate"},
		"url-password":   {change: func(s *sourcev1.HelmRepositorySpec) { s.URL = "https://u:" + password + "@host/" }, reason: "URLInvalid", text: "spec.secretRef", stalls: true},
		"url-registry":   {change: func(s *sourcev1.HelmRepositorySpec) { s.URL = "oci://host/app" }, reason: "URLInvalid", text: `"oci"`, stalls: true},
		"not-found":      {serve: http.NotFound, reason: "IndexationFailed", text: "404"},
		"busy": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, reason: "IndexationFailed", text: "left alone"},
		"page":    {serve: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>login</html>") }, reason: "IndexationFailed", text: "index"},
		"endless": {serve: endless, reason: "IndexationFailed", text: "larger than allowed"},
		"cut": {serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, index("1.0.0"))
		}, reason: "IndexationFailed", text: "EOF"},
		"downgrade": {serve: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://plain.test/", http.StatusFound)
		}, reason: "IndexationFailed", text: "away from TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			g.T = t
			g.restart(1 << 20)
			g.set("", c.serve)
			g.create(name, c.change)
			if repo := g.Fails(name, c.reason, c.text); sourcetest.Stalled(repo) != c.stalls {
				t.Errorf("stalled is %t", !c.stalls)
			}
		})
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	line := []byte(strings.Repeat("#", 1000) + "\n")
	for {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}

// TestRedirect asserts that another host gets the request, and no credentials.
func TestRedirect(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	authorized := make(chan string, 10)
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorized <- r.Header.Get("Authorization")
		fmt.Fprint(w, index("1.0.0"))
	}))
	other.TLS = g.front.TLS.Clone()
	other.StartTLS()
	defer other.Close()
	g.set("", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	g.create("app", nil)
	g.Ready("app")
	if got := <-authorized; got != "" {
		t.Error("the other host got the credentials")
	}
	g.create("all", func(s *sourcev1.HelmRepositorySpec) { s.PassCredentials = true })
	g.Ready("all")
	if got := <-authorized; got == "" {
		t.Error("passCredentials has no effect")
	}
}

// TestFieldsOfTheOtherType asserts that fields which are for registries are accepted,
// as the wire API has it, and change nothing: neither is plain HTTP spoken, nor does an
// identity of this program go to the server.
func TestFieldsOfTheOtherType(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, provider := range []string{"aws", "azure", "gcp", "generic"} {
		g.create(provider, func(s *sourcev1.HelmRepositorySpec) { s.Insecure, s.Provider = true, provider })
		g.Ready(provider)
		for _, seen := range g.requests() {
			if seen != "GET /charts/index.yaml" {
				t.Errorf("%s: it was asked %q", provider, seen)
			}
		}
	}
	g.create("no-ca", func(s *sourcev1.HelmRepositorySpec) { s.Insecure, s.CertSecretRef = true, nil })
	g.Fails("no-ca", sourcev1.IndexationFailedReason, "certificate")
}

// TestStatic asserts that a repository that becomes one of the type oci is left
// alone after it was cleaned up.
func TestStatic(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.create("app", nil)
	repo := g.Ready("app")
	g.Told()
	repo.Spec.Type, repo.Spec.URL = sourcev1.HelmRepositoryTypeOCI, "oci://host/charts"
	must(t, g.C.Update(t.Context(), repo))
	now := g.Reconcile("app")
	if len(now.Finalizers) > 0 || now.Status.Artifact != nil || len(now.Status.Conditions) > 0 || now.Status.URL != "" {
		t.Errorf("it is not clean: %v %+v", now.Finalizers, now.Status)
	}
	if told := g.Told(); len(told) != 1 || !strings.Contains(told[0], "Migration") {
		t.Errorf("got the events %q", told)
	}
	if again := g.Reconcile("app"); again.ResourceVersion != now.ResourceVersion {
		t.Error("it was written again")
	}
}
