package bucket

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// rig is a reconciler on a real API server, a store of its own and an S3 server
// behind TLS and keys.
type rig struct {
	t        *testing.T
	c        client.Client
	ns       string
	storage  string
	o        Options
	env      *process.Env
	recorder *record.FakeRecorder
	worker   *Reconciler
	r        *loop.Reconciler[*sourcev1.Bucket]
	s3       *s3Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{
		t: t, c: testenv.Client(t, sourcev1.AddToScheme), ns: testenv.Namespace(t), storage: t.TempDir(),
		recorder: record.NewFakeRecorder(100), s3: newS3Server(t, true),
	}
	direct := func(*rest.Config, client.Options) (client.Client, error) { return g.c, nil }
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{Scheme: g.c.Scheme(), Metrics: server.Options{BindAddress: "0"}, NewClient: direct})
	must(t, err)
	recorder := events.New(events.Options{Controller: "source-controller", Scheme: g.c.Scheme(), Kubernetes: g.recorder})
	g.env = &process.Env{Name: "source-controller", FieldOwner: "source-controller", Manager: mgr, Recorder: recorder, Concurrent: 1}
	g.restart()
	g.secret("login", "accesskey", accessKey, "secretkey", secretKey)
	g.secret("ca", "ca.crt", authorityOf(g.s3.Server))
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.t.Helper()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: g.storage, Host: "source-controller.test"})
	must(g.t, err)
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.c})
	must(g.t, err)
	g.o = Options{Client: g.c, Logins: logins, Recorder: g.env.Recorder, Store: store, CacheDir: g.storage + "/.weir/buckets"}
	g.worker = New(g.o)
	g.r = loop.New[*sourcev1.Bucket](g.env, g.worker)
}

func authorityOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// secret makes a Secret of pairs of key and value.
func (g *rig) secret(name string, pairs ...string) {
	g.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name}, Data: map[string][]byte{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Data[pairs[i]] = []byte(pairs[i+1])
	}
	must(g.t, g.c.Create(g.t.Context(), s))
}

// create makes a Bucket of the S3 server's.
func (g *rig) create(name string, change func(*sourcev1.BucketSpec)) {
	g.t.Helper()
	b := &sourcev1.Bucket{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name},
		Spec: sourcev1.BucketSpec{
			Provider: "generic", Endpoint: g.s3.host(), BucketName: "app", Interval: duration.New(time.Hour),
			SecretRef: &meta.LocalObjectReference{Name: "login"}, CertSecretRef: &meta.LocalObjectReference{Name: "ca"},
		},
	}
	if change != nil {
		change(&b.Spec)
	}
	must(g.t, g.c.Create(g.t.Context(), b))
}

func (g *rig) get(name string) *sourcev1.Bucket {
	g.t.Helper()
	b := &sourcev1.Bucket{}
	must(g.t, g.c.Get(g.t.Context(), client.ObjectKey{Namespace: g.ns, Name: name}, b))
	return b
}

func (g *rig) update(name string, change func(*sourcev1.BucketSpec)) {
	g.t.Helper()
	b := g.get(name)
	change(&b.Spec)
	must(g.t, g.c.Update(g.t.Context(), b))
}

// reconcile runs one reconciliation and returns the object after it.
func (g *rig) reconcile(name string) *sourcev1.Bucket {
	g.t.Helper()
	key := client.ObjectKey{Namespace: g.ns, Name: name}
	_, _ = g.r.Reconcile(g.t.Context(), ctrl.Request{NamespacedName: key}) // the object says what became of it
	return g.get(name)
}

// ready is reconcile that must succeed.
func (g *rig) ready(name string) *sourcev1.Bucket {
	g.t.Helper()
	b := g.reconcile(name)
	c := apimeta.FindStatusCondition(b.Status.Conditions, meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionTrue || b.Status.ObservedGeneration != b.Generation {
		g.t.Fatalf("%s is not ready: %+v", name, b.Status)
	}
	return b
}

// fails is reconcile that must end in Ready=False with the given reason and a
// message that has all the texts in it.
func (g *rig) fails(name, reason string, texts ...string) *sourcev1.Bucket {
	g.t.Helper()
	b := g.reconcile(name)
	c := apimeta.FindStatusCondition(b.Status.Conditions, meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
		g.t.Fatalf("%s: Ready is %+v, want False with reason %s", name, c, reason)
	}
	for _, text := range texts {
		if !strings.Contains(c.Message, text) {
			g.t.Errorf("the message %q does not name %q", c.Message, text)
		}
	}
	if strings.Contains(c.Message, g.storage) || strings.Contains(c.Message, secretKey) {
		g.t.Errorf("the message tells too much: %s", c.Message)
	}
	return b
}

func stalled(b *sourcev1.Bucket) bool {
	return apimeta.IsStatusConditionTrue(b.Status.Conditions, meta.StalledCondition)
}

// told returns the events since the last call, as "<type> <reason> <message> …".
func (g *rig) told() []string {
	var out []string
	for {
		select {
		case e := <-g.recorder.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// served downloads a path of the file server.
func (g *rig) served(path string) []byte {
	g.t.Helper()
	w := httptest.NewRecorder()
	g.o.Store.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/"+path, nil))
	if w.Code != http.StatusOK {
		g.t.Fatalf("GET %s answers %d", path, w.Code)
	}
	return w.Body.Bytes()
}

// content returns the files of an artifact.
func (g *rig) content(a *meta.Artifact) map[string]string {
	g.t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(g.served(a.Path)))
	must(g.t, err)
	out := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(g.t, err)
		data, err := io.ReadAll(tr)
		must(g.t, err)
		if h.Typeflag != tar.TypeDir {
			out[h.Name] = string(data)
		}
	}
}
