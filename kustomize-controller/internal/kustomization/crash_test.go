package kustomization

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/kustomize-controller/internal/remote"
)

// fuse cuts a process off from the API server at one of its writes, as SIGKILL
// would: nothing that it tries afterwards arrives.
type fuse struct {
	at    int  // the write, counted from 1; 0: never
	after bool // the write still arrives, only its answer does not
	next  http.RoundTripper

	mu     sync.Mutex
	writes int
	blown  bool
}

var errKilled = errors.New("the process is dead")

func (f *fuse) RoundTrip(r *http.Request) (*http.Response, error) {
	write := r.Method != http.MethodGet && !strings.Contains(r.URL.RawQuery, "dryRun")
	f.mu.Lock()
	if f.blown {
		f.mu.Unlock()
		return nil, errKilled
	}
	if write {
		f.writes++
		f.blown = f.writes == f.at
	}
	last := write && f.blown
	f.mu.Unlock()
	if last && !f.after {
		return nil, errKilled
	}
	resp, err := f.next.RoundTrip(r)
	if last && err == nil {
		resp.Body.Close()
		return nil, errKilled
	}
	return resp, err
}

// mortal makes the process one that is killed at a write.
func (g *rig) mortal(f *fuse) {
	g.Helper()
	cfg := testenv.Config(g.T)
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.next = rt
		return f
	})
	c, err := client.New(cfg, client.Options{Scheme: g.Scheme(), Mapper: g.RESTMapper()})
	if err != nil {
		g.Fatal(err)
	}
	g.start(cfg, c, apply.Options{Concurrency: 1, Notify: func(types.NamespacedName) {}})
}

// start begins a new process that reaches the API server by cfg and c.
func (g *rig) start(cfg *rest.Config, c client.Client, o apply.Options) {
	g.Helper()
	cluster, err := apply.NewCluster(cfg, o)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(cluster.Close)
	options := g.o
	options.Client, options.Live, options.Cluster, options.Remote = c, c, cluster, remote.New(o, remote.Policy{})
	g.Cleanup(options.Remote.Close)
	g.worker = New(options)
	g.loop = loop.New(&process.Env{FieldOwner: "gotk-kustomize-controller", Manager: testenv.Direct(c), Recorder: g.recorder}, g.worker)
}

func (g *rig) request(name string) ctrl.Request { return ctrl.Request{NamespacedName: g.key(name)} }

// upheaval is a history of commits: each changes, adds and removes something,
// in more than one stage of an apply.
func upheaval(ns string) []map[string]string {
	role := fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: %s-%%s\nrules: []\n", ns)
	first := map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1"), "app/r.yaml": fmt.Sprintf(role, "one")}
	second := map[string]string{"app/a.yaml": configMap("a", "2"), "app/c.yaml": configMap("c", "1"), "app/r.yaml": fmt.Sprintf(role, "two")}
	third := map[string]string{"app/d.yaml": configMap("d", "1"), "app/s.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: d\n"}
	return []map[string]string{first, second, third}
}

// owned names what carries the labels of a Kustomization of the namespace.
func (g *rig) owned() []string {
	g.Helper()
	var out []string
	for _, list := range []client.ObjectList{&corev1.ConfigMapList{}, &corev1.ServiceAccountList{}, &rbacv1.ClusterRoleList{}} {
		if err := g.List(g.Context(), list, client.MatchingLabels{kustomizev1.GroupVersion.Group + "/namespace": g.ns}); err != nil {
			g.Fatal(err)
		}
		if err := apimeta.EachListItem(list, func(o runtime.Object) error {
			obj := o.(client.Object)
			gvk, err := g.GroupVersionKindFor(obj)
			if err != nil {
				return err
			}
			out = append(out, apply.Ref{GroupVersionKind: gvk, Namespace: obj.GetNamespace(), Name: obj.GetName()}.ID())
			return nil
		}); err != nil {
			g.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

func inventoryIDs(k *kustomizev1.Kustomization) []string {
	var out []string
	if k.Status.Inventory != nil {
		for _, e := range k.Status.Inventory.Entries {
			out = append(out, e.ID)
		}
	}
	slices.Sort(out)
	return out
}

// A process killed at any of its writes, before the write arrives or after,
// leaves nothing that the next process does not know of, and that one deletes
// nothing that it should not: in each case a commit that removes objects comes
// while nobody is there.
func TestKilledAtEveryWrite(t *testing.T) {
	bystander := testenv.Namespace(t)
	before := len(testenv.Audit(t))
	var mu sync.Mutex
	doomed := map[string]bool{} // what the commits remove
	t.Cleanup(func() {
		for _, e := range testenv.Audit(t)[before:] {
			if e.Verb == "delete" && e.Code < 300 && !strings.Contains(e.URI, "dryRun") && e.Resource != "namespaces" &&
				!doomed[e.Resource+" "+e.Namespace+"/"+e.Name] {
				t.Errorf("%s %s/%s of namespace %q was deleted; no commit removes it", e.UserAgent, e.Resource, e.Name, e.Namespace)
			}
		}
	})
	everyWrite(t, func(t *testing.T, f *fuse) {
		g := newRig(t)
		history := upheaval(g.ns)
		mu.Lock()
		for _, name := range []string{"configmaps " + g.ns + "/a", "configmaps " + g.ns + "/b", "configmaps " + g.ns + "/c",
			"clusterroles /" + g.ns + "-one", "clusterroles /" + g.ns + "-two"} {
			doomed[name] = true
		}
		mu.Unlock()
		g.others(bystander)
		g.kustomization("app", nil)
		g.mortal(f)
		for i, files := range history[:2] {
			g.publish(fmt.Sprintf("v%d", i+1), files)
			for range 2 { // the first may let others past
				_, _ = g.loop.Reconcile(g.Context(), g.request("app"))
				g.inventoryCovers()
			}
		}

		g.publish("v3", history[2])
		g.restart()
		k, _ := g.reconcile("app")
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
		want := []string{g.ns + "_d__ConfigMap", g.ns + "_d__ServiceAccount"}
		if diff := cmp.Diff(want, inventoryIDs(k)); diff != "" {
			t.Errorf("inventory (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(append(want, g.ns+"_theirs__ConfigMap"), g.owned()); diff != "" {
			t.Errorf("objects with our labels (-want +got):\n%s", diff)
		}
	})
}

// everyWrite plays a life once undisturbed, to see how many writes it makes, and
// then once for each of them, cut off before and after it.
func everyWrite(t *testing.T, life func(*testing.T, *fuse)) {
	t.Helper()
	whole := &fuse{}
	if !t.Run("undisturbed", func(t *testing.T) { life(t, whole) }) {
		return
	}
	if whole.writes < 4 {
		t.Fatalf("a life of %d writes shows nothing", whole.writes)
	}
	for at := 1; at <= whole.writes; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, after %t", at, after), func(t *testing.T) {
				t.Parallel()
				f := &fuse{at: at, after: after}
				life(t, f)
				if !f.blown {
					t.Errorf("it made %d writes only", f.writes)
				}
			})
		}
	}
}

// others makes objects that no deletion is to touch: one without labels, one of
// another Kustomization of the same namespace, and one of the same name elsewhere.
func (g *rig) others(elsewhere string) {
	g.Helper()
	group := kustomizev1.GroupVersion.Group
	for _, cm := range []*corev1.ConfigMap{
		{ObjectMeta: metav1.ObjectMeta{Name: "plain", Namespace: g.ns}},
		{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Namespace: g.ns, Labels: map[string]string{group + "/name": "other", group + "/namespace": g.ns}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: elsewhere}},
	} {
		if err := g.Create(g.Context(), cm); err != nil && !apierrors.IsAlreadyExists(err) {
			g.Fatal(err)
		}
	}
}

// inventoryCovers checks that what carries our labels is on record.
func (g *rig) inventoryCovers() {
	g.Helper()
	k := &kustomizev1.Kustomization{}
	if err := g.Get(g.Context(), g.key("app"), k); err != nil {
		g.Fatal(err)
	}
	known := inventoryIDs(k)
	for _, id := range g.owned() {
		if !slices.Contains(known, id) && !strings.Contains(id, "_theirs_") {
			g.Errorf("%s carries the labels of the Kustomization and is not in its inventory %q", id, known)
		}
	}
}

// The same while the Kustomization is deleted: the next process finishes it.
func TestKilledWhileDeleting(t *testing.T) {
	bystander := testenv.Namespace(t)
	everyWrite(t, func(t *testing.T, f *fuse) {
		g := newRig(t)
		g.others(bystander)
		g.publish("v1", upheaval(g.ns)[0])
		g.kustomization("app", nil)
		k, _ := g.reconcile("app")
		if err := g.Delete(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		g.mortal(f)
		_, _ = g.loop.Reconcile(t.Context(), g.request("app"))
		g.restart()
		if g.outlast("app") != nil {
			t.Error("the Kustomization is still there")
		}
		if diff := cmp.Diff([]string{g.ns + "_theirs__ConfigMap"}, g.owned()); diff != "" {
			t.Errorf("objects with labels (-want +got):\n%s", diff)
		}
		if got := g.value("plain"); got == "(none)" {
			t.Error("an object without labels was deleted")
		}
	})
}

// A new process that finds its inventory in status knows what to prune even
// when the first thing it sees is a build that fails.
func TestKilledThenBuildFails(t *testing.T) {
	g := newRig(t)
	history := upheaval(g.ns)
	g.publish("v1", history[0])
	g.kustomization("app", nil)
	g.reconcile("app")
	broken := maps.Clone(history[2])
	broken["app/bad.yaml"] = "kind: [\n"
	g.publish("v2", broken)
	g.restart()
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason)
	if got := g.owned(); len(got) != 3 || len(k.Status.Inventory.Entries) != 3 {
		t.Errorf("objects %q, inventory %+v after a build that failed", got, k.Status.Inventory)
	}
	g.publish("v3", history[2])
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if diff := cmp.Diff([]string{g.ns + "_d__ConfigMap", g.ns + "_d__ServiceAccount"}, g.owned()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}
