package sourcetest

import (
	"net/http"
	"slices"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

// Rig is the reconciler of one kind, which the test calls itself, on a real API server
// and with a store of its own. The rig of a kind embeds it, and adds the server that
// its objects name.
type Rig[T Source] struct {
	T       *testing.T // the one that runs now
	C       client.Client
	NS      string // the namespace of all objects
	Storage string // the folder of the store
	Env     *process.Env
	Store   *artifact.Store      // of OpenStore
	Loop    reconcile.Reconciler // set by the kind's rig

	secret []string // what no message may tell
	told   *record.FakeRecorder
	empty  func() T
}

// NewRig returns a Rig for the objects that empty makes. Messages must tell nothing of
// secret.
func NewRig[T Source](t *testing.T, empty func() T, secret ...string) *Rig[T] {
	t.Helper()
	g := &Rig[T]{T: t, C: testenv.Client(t, sourcev1.AddToScheme), NS: testenv.Namespace(t), Storage: t.TempDir(), empty: empty}
	g.secret = append(slices.Clone(secret), g.Storage)
	g.Env, g.told = newEnv(g.C)
	return g
}

// OpenStore opens the store as a new process does.
func (g *Rig[T]) OpenStore() {
	g.T.Helper()
	var err error
	g.Store, err = artifact.NewStore(artifact.StoreOptions{Dir: g.Storage, Host: "source-controller.test"})
	Must(g.T, err)
}

// Meta is the metadata of a new object.
func (g *Rig[T]) Meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: g.NS, Name: name}
}

// Key names an object.
func (g *Rig[T]) Key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: g.NS, Name: name}
}

// Secret makes a Secret of keys and values in turn, in place of one that is there.
func (g *Rig[T]) Secret(name string, pairs ...string) {
	g.T.Helper()
	secret := &corev1.Secret{ObjectMeta: g.Meta(name), Data: map[string][]byte{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		secret.Data[pairs[i]] = []byte(pairs[i+1])
	}
	err := g.C.Create(g.T.Context(), secret)
	if apierrors.IsAlreadyExists(err) {
		err = g.C.Update(g.T.Context(), secret)
	}
	Must(g.T, err)
}

// Get reads an object.
func (g *Rig[T]) Get(name string) T {
	g.T.Helper()
	obj := g.empty()
	Must(g.T, g.C.Get(g.T.Context(), g.Key(name), obj))
	return obj
}

// Update changes an object.
func (g *Rig[T]) Update(name string, change func(T)) {
	g.T.Helper()
	obj := g.Get(name)
	change(obj)
	Must(g.T, g.C.Update(g.T.Context(), obj))
}

// Reconcile runs one reconciliation and returns the object after it, which says what
// became of it.
func (g *Rig[T]) Reconcile(name string) T {
	g.T.Helper()
	_, _ = g.Loop.Reconcile(g.T.Context(), ctrl.Request{NamespacedName: g.Key(name)})
	return g.Get(name)
}

// Ready is Reconcile that must succeed.
func (g *Rig[T]) Ready(name string) T {
	g.T.Helper()
	obj := g.Reconcile(name)
	checkReady(g.T, obj)
	return obj
}

// Fails is Reconcile that must end in Ready=False with the given reason and a message
// that has all the texts in it.
func (g *Rig[T]) Fails(name, reason string, texts ...string) T {
	g.T.Helper()
	obj := g.Reconcile(name)
	checkFailed(g.T, obj, reason, texts, g.secret...)
	return obj
}

// Told returns the events since the last call, as "<type> <reason> <message> …".
func (g *Rig[T]) Told() []string { return Told(g.told) }

// Served downloads a path of the file server.
func (g *Rig[T]) Served(path string) []byte {
	g.T.Helper()
	return download(g.T, g.Store.Handler(), path)
}

// Content returns the files of an artifact that is a tar.gz archive.
func (g *Rig[T]) Content(a *meta.Artifact) map[string]string {
	g.T.Helper()
	return unpacked(g.T, g.Served(a.Path))
}

// Promise begins a Promise of the object with the given name.
func (g *Rig[T]) Promise(name, resource string) Promise {
	return Promise{
		T: g.T, C: g.C, Resource: resource, Storage: g.Storage, Told: g.Told,
		Reconcile: func() Source { return g.Reconcile(name) },
		Files:     func() http.Handler { return g.Store.Handler() },
	}
}
