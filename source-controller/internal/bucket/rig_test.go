package bucket

import (
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
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
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
		t: t, c: testenv.Client(t, sourcev1.AddToScheme), ns: testenv.Namespace(t), storage: t.TempDir(), s3: newS3Server(t, true),
	}
	g.env, g.recorder = sourcetest.Env(g.c)
	g.restart()
	g.secret("login", "accesskey", accessKey, "secretkey", secretKey)
	g.secret("ca", "ca.crt", sourcetest.Authority(g.s3.Server))
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
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.c})
	must(g.t, err)
	g.o = Options{Client: g.c, Logins: logins, Recorder: g.env.Recorder, Store: store, CacheDir: g.storage + "/.weir/buckets"}
	g.worker = New(g.o)
	g.r = loop.New[*sourcev1.Bucket](g.env, g.worker)
}

// secret makes a Secret of pairs of key and value.
func (g *rig) secret(name string, pairs ...string) {
	g.t.Helper()
	data := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		data[pairs[i]] = pairs[i+1]
	}
	sourcetest.Secret(g.t, g.c, g.ns, name, data)
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
	sourcetest.Ready(g.t, b)
	return b
}

// fails is reconcile that must end in Ready=False with the given reason and a
// message that has all the texts in it.
func (g *rig) fails(name, reason string, texts ...string) *sourcev1.Bucket {
	g.t.Helper()
	b := g.reconcile(name)
	sourcetest.Failed(g.t, b, reason, texts, g.storage, secretKey)
	return b
}

func stalled(b *sourcev1.Bucket) bool { return sourcetest.Stalled(b) }

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
