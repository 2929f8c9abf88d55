package apply

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for something that has to happen.
const patience = 20 * time.Second

var (
	configMaps = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	gadgetKind = schema.GroupVersionKind{Group: "drift.example", Version: "v1", Kind: "Gadget"}
)

// meter counts the requests of the part under test by what they are for.
type meter struct {
	next http.RoundTripper

	mu                         sync.Mutex
	watches, discovery, others int
	log                        []string
}

func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	switch parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); {
	case r.URL.Query().Get("watch") == "true":
		m.watches++
	case parts[0] == "api" && len(parts) <= 2, parts[0] == "apis" && len(parts) <= 3:
		m.discovery++
	default:
		m.others++
		m.log = append(m.log, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
	}
	m.mu.Unlock()
	return m.next.RoundTrip(r)
}

// take returns the requests since the last take that are neither watches nor discovery.
func (m *meter) take() (n int, log []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, log = m.others, m.log
	m.others, m.log = 0, nil
	return n, log
}

// lab is a cluster under test, and dyn for everybody else.
type lab struct {
	*Cluster
	t         testing.TB
	ns        string
	owner     types.NamespacedName
	dyn       dynamic.Interface
	meter     *meter
	notices   chan types.NamespacedName
	recorded  [][]Ref
	recordErr error
	log       []string // requests of the last apply
}

func newLab(t testing.TB, change ...func(*rest.Config, *Options)) *lab {
	t.Helper()
	l := &lab{t: t, ns: testenv.Namespace(t), notices: make(chan types.NamespacedName, 10_000)}
	l.owner = types.NamespacedName{Namespace: l.ns, Name: "apps"}
	cfg := testenv.Config(t)
	cfg.QPS = -1
	var err error
	l.dyn, err = dynamic.NewForConfig(cfg)
	must(t, err)
	mine := rest.CopyConfig(cfg)
	l.meter = &meter{}
	mine.Wrap(func(rt http.RoundTripper) http.RoundTripper { l.meter.next = rt; return l.meter })
	o := Options{Concurrency: 8, Notify: func(o types.NamespacedName) { l.notices <- o }}
	for _, c := range change {
		c(mine, &o)
	}
	l.Cluster, err = NewCluster(mine, o)
	must(t, err)
	t.Cleanup(l.Close)
	return l
}

// again is the same lab after a restart of the program.
func (l *lab) again() *lab {
	l.t.Helper()
	l.Close()
	n := newLab(l.t)
	n.ns, n.owner = l.ns, l.owner
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// object makes a built object from YAML; namespaced kinds get the lab's namespace.
func (l *lab) object(text, name string) build.Object {
	l.t.Helper()
	u := &unstructured.Unstructured{}
	must(l.t, yaml.Unmarshal([]byte(text), &u.Object))
	if name != "" {
		u.SetName(name)
	}
	switch u.GetKind() {
	case "ClusterRole", "ClusterRoleBinding", "Namespace", "CustomResourceDefinition", "StorageClass":
	default:
		if u.GetNamespace() == "" {
			u.SetNamespace(l.ns)
		}
	}
	return built(l.t, u)
}

func built(t testing.TB, u *unstructured.Unstructured) build.Object {
	t.Helper()
	b, err := u.MarshalJSON()
	must(t, err)
	b = []byte(strings.TrimSpace(string(b)))
	return build.Object{GVK: u.GroupVersionKind(), Namespace: u.GetNamespace(), Name: u.GetName(), JSON: b, Sum: xxhash.Sum64(b)}
}

// configMap is a small object with one value.
func (l *lab) configMap(name, value string) build.Object {
	return l.object("{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {team: x}}, data: {a: "+value+", b: two}}", name)
}

func (l *lab) set(objects ...build.Object) Set { return Set{Owner: l.owner, Objects: objects} }

// try applies a set.
func (l *lab) try(s Set) (*Result, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	return l.As("").Apply(ctx, s, func(refs []Ref) error {
		l.recorded = append(l.recorded, append([]Ref(nil), refs...))
		return l.recordErr
	})
}

// apply applies a set and returns what was done, and with how many requests.
func (l *lab) apply(s Set) (actions string, requests int) {
	l.t.Helper()
	l.meter.take()
	res, err := l.try(s)
	if err != nil {
		l.t.Fatalf("apply: %v", err)
	}
	n, log := l.meter.take()
	l.log = log
	return summary(res.Changes), n
}

// summary is how often each action occurs: "created 2, unchanged 1".
func summary(changes []Change) string {
	count := map[string]int{}
	for _, c := range changes {
		count[c.Action]++
	}
	var parts []string
	for _, a := range []string{Created, Configured, Unchanged, Skipped, Deleted} {
		if count[a] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", a, count[a]))
		}
	}
	return strings.Join(parts, ", ")
}

// want compares the actions and the requests of an apply.
func (l *lab) want(s Set, actions string, requests int) {
	l.t.Helper()
	got, n := l.apply(s)
	if got != actions || n != requests {
		l.t.Errorf("apply did %q with %d requests, want %q with %d: %q", got, n, actions, requests, l.log)
	}
}

// res is an object's resource as everybody else sees it.
func (l *lab) res(o build.Object) dynamic.ResourceInterface {
	l.t.Helper()
	m, err := l.mapper.mapping(context.Background(), o.GVK)
	must(l.t, err)
	if o.Namespace == "" {
		return l.dyn.Resource(m.Resource)
	}
	return l.dyn.Resource(m.Resource).Namespace(o.Namespace)
}

// live reads an object; nil when it is not there.
func (l *lab) live(o build.Object) *unstructured.Unstructured {
	l.t.Helper()
	u, err := l.res(o).Get(context.Background(), o.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	must(l.t, err)
	return u
}

// patch changes an object in somebody else's name.
func (l *lab) patch(o build.Object, by string, body string, sub ...string) {
	l.t.Helper()
	_, err := l.res(o).Patch(context.Background(), o.Name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: by}, sub...)
	must(l.t, err)
}

func (l *lab) delete(o build.Object) {
	l.t.Helper()
	background := metav1.DeletePropagationBackground
	err := l.res(o).Delete(context.Background(), o.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		l.t.Fatal(err)
	}
}

// noticed waits until the owner was told.
func (l *lab) noticed() {
	l.t.Helper()
	select {
	case o := <-l.notices:
		if o != l.owner {
			l.t.Fatalf("%s was told, want %s", o, l.owner)
		}
	case <-time.After(patience):
		l.t.Fatal("nobody was told")
	}
}

// quiet fails if the owner was told.
func (l *lab) quiet() {
	l.t.Helper()
	select {
	case o := <-l.notices:
		l.t.Fatalf("%s was told without need; marked: %v", o, l.Drifted(o))
	default:
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

// row is what is known of an object.
func (l *lab) row(o build.Object) (*resource, drift.Key, drift.Row) {
	l.t.Helper()
	m, err := l.mapper.mapping(context.Background(), o.GVK)
	must(l.t, err)
	l.mu.Lock()
	r := l.resources[m.Resource.GroupResource()]
	l.mu.Unlock()
	if r == nil {
		l.t.Fatalf("%s is not followed", o.GVK)
	}
	k := drift.KeyOf(o.Namespace, o.Name)
	row, _ := r.table.Row(k)
	return r, k, row
}

// caughtUp waits until the watch has brought the object's newest version: it is
// either marked, or known in that version.
func (l *lab) caughtUp(o build.Object) {
	l.t.Helper()
	r, k, _ := l.row(o)
	until(l.t, "the watch catching up with "+o.Name, func() bool {
		live := l.live(o)
		row, ok := r.table.Row(k)
		return r.dirty(k) != nil || live == nil && !ok || live != nil && live.GetResourceVersion() == fmt.Sprint(row.RV)
	})
}

// diff compares two objects.
func diff(before, after map[string]any) string { return cmp.Diff(before, after) }

var createOptions = metav1.CreateOptions{FieldManager: "lab"}

// grant lets a user do something with ConfigMaps in the lab's namespace.
func (l *lab) grant(user, verbs string) {
	l.t.Helper()
	for _, o := range []build.Object{
		l.object(`{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, rules: [{apiGroups: [""], resources: [configmaps], verbs: `+verbs+`}]}`, user),
		l.object(`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: `+user+`}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: `+user+`}]}`, user),
	} {
		u, err := o.Unstructured()
		must(l.t, err)
		_, err = l.dyn.Resource(o.GVK.GroupVersion().WithResource(strings.ToLower(o.GVK.Kind)+"s")).Namespace(l.ns).Create(context.Background(), u, createOptions)
		must(l.t, err)
	}
}

// hang is a server that takes connections and never answers.
type hang struct{}

func (*hang) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	context.AfterFunc(ctx, func() { _ = far.Close() })
	return near, nil
}
