package kustomization

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

const agent = "the-controller-under-test"

var hour, second = duration.New(time.Hour), duration.New(time.Second)

// slowMachine is what a machine that does other things may add.
const slowMachine = 250 * time.Millisecond

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[(len(d)-1)*p/100]
}

// running is a whole controller: manager, caches, queue and workers.
type running struct {
	*rig
	marks int
}

// run starts a controller with that many workers for the namespaces given.
func (g *rig) run(workers int, namespaces ...string) *running {
	g.Helper()
	cfg := testenv.Config(g.T)
	cfg.UserAgent = agent + g.ns
	in := map[string]cache.Config{g.ns: {}}
	for _, ns := range namespaces {
		in[ns] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: g.Scheme(), Metrics: server.Options{BindAddress: "0"},
		Cache:      cache.Options{DefaultNamespaces: in},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.ServiceAccount{}}}},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		g.Fatal(err)
	}
	var bell loop.Bell
	cluster, err := apply.NewCluster(cfg, apply.Options{Notify: bell.Ring})
	if err != nil {
		g.Fatal(err)
	}
	o := g.o
	o.Client, o.Live, o.Cluster = mgr.GetClient(), mgr.GetAPIReader(), cluster
	env := &process.Env{Name: "kustomize-controller", FieldOwner: "gotk-kustomize-controller", Manager: mgr, Recorder: g.recorder, Concurrent: workers}
	if err := New(o).Setup(g.Context(), env, &bell); err != nil {
		g.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	g.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			g.Error(err)
		}
		cluster.Close()
	})
	return &running{rig: g}
}

// asked returns the requests of the controller since an earlier mark, without
// watches.
func (r *running) asked() (out []string) {
	r.Helper()
	all := testenv.Audit(r.T)
	for _, e := range all[r.marks:] {
		if e.UserAgent == agent+r.ns && e.Verb != "watch" {
			out = append(out, e.Verb+" "+e.URI)
		}
	}
	r.marks = len(all)
	return out
}

// rounds is how many reconciliations there were, by the metric that dashboards read.
func (r *running) rounds() float64 {
	return testenv.Metric(r.T, "gotk_reconcile_duration_seconds", "namespace", r.ns)
}

// settle waits until nothing is reconciled any more, such as for what was written itself.
func (r *running) settle() {
	r.Helper()
	const quiet = 500 * time.Millisecond
	last, since := r.rounds(), time.Now()
	r.await("nothing is reconciled", func() string {
		if now := r.rounds(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < quiet {
			return "it was a moment ago"
		}
		return ""
	})
}

// readyAll waits until that many Kustomizations are ready at a revision.
func (r *running) readyAll(count int, revision string) {
	r.Helper()
	r.await(fmt.Sprintf("%d Kustomizations are ready at %s", count, revision), func() string {
		var all kustomizev1.KustomizationList
		if err := r.List(r.Context(), &all, client.InNamespace(r.ns)); err != nil {
			return err.Error()
		}
		ready := 0
		for _, k := range all.Items {
			if c := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition); c != nil && c.Status == metav1.ConditionTrue &&
				k.Status.LastAppliedRevision == revision && k.Status.ObservedGeneration == k.Generation {
				ready++
			}
		}
		if ready != count {
			return fmt.Sprintf("%d are", ready)
		}
		return ""
	})
}

// waitWithoutWorkers waits until that many Kustomizations, more than there are workers,
// say what they wait for, and another one is applied nevertheless.
func (r *running) waitWithoutWorkers(stuck int, message string) {
	r.Helper()
	r.await("all of them say what they wait for", func() string {
		var all kustomizev1.KustomizationList
		if err := r.List(r.Context(), &all, client.InNamespace(r.ns)); err != nil {
			return err.Error()
		}
		waiting := 0
		for _, k := range all.Items {
			if c := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition); c != nil && c.Status == metav1.ConditionUnknown && strings.HasPrefix(c.Message, message) {
				waiting++
			}
		}
		if waiting != stuck {
			return fmt.Sprintf("%d of %d", waiting, stuck)
		}
		return ""
	})
	r.kustomization("app", nil)
	r.await("another one is applied", func() string {
		if got := r.value("a"); got != "1" {
			return got
		}
		return ""
	})
}

// await asks until what is missing is "".
func (g *rig) await(what string, missing func() string) {
	g.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
		lacks := missing()
		if lacks == "" {
			return
		}
		if time.Now().After(deadline) {
			g.Fatalf("%s: not in time: %s", what, lacks)
		}
	}
}

// At rest, with an interval that passes again and again, the controller asks
// nothing of the API server; nor when the status of what it applied moves.
func TestTimedReconciliationsAskNothing(t *testing.T) {
	const count = 20
	g := newRig(t)
	files := map[string]string{}
	for i := range count {
		files[fmt.Sprintf("k%d/a.yaml", i)] = configMap(fmt.Sprintf("a-%d", i), "1")
	}
	files["k0/web.yaml"] = deployment
	g.publish("v1", files)
	for i := range count {
		g.kustomization(fmt.Sprintf("k%d", i), func(s *kustomizev1.KustomizationSpec) {
			s.Path, s.Interval.Duration = fmt.Sprintf("./k%d", i), time.Second
		})
	}
	r := g.run(4)
	r.readyAll(count, "v1")
	rounds := r.rounds
	before := rounds()
	for rounds() < before+2*count { // what settles after the first apply
		time.Sleep(50 * time.Millisecond)
	}
	r.asked()
	before = rounds()
	for rounds() < before+3*count {
		time.Sleep(50 * time.Millisecond)
	}
	if asked := r.asked(); len(asked) > 0 {
		t.Errorf("%d reconciliations at their interval asked\n%s", 3*count, strings.Join(asked, "\n"))
	}

	before = rounds()
	for i := range 50 {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: g.ns}}
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Churn","status":"True","reason":"Test","message":"%d"}]}}`, i)
		if err := g.Status().Patch(t.Context(), d, client.RawPatch(types.StrategicMergePatchType, []byte(patch)), client.FieldOwner("kube-controller-manager")); err != nil {
			t.Fatal(err)
		}
	}
	for rounds() < before+2*count {
		time.Sleep(50 * time.Millisecond)
	}
	if asked := r.asked(); len(asked) > 0 {
		t.Errorf("50 changes of a status made the controller ask\n%s", strings.Join(asked, "\n"))
	}
}

// One object edited by hand is one request; a commit that changes the files of
// one of many Kustomizations builds and applies that one.
func TestCorrectionsAndCommitsCostWhatChanged(t *testing.T) {
	const count = 50
	g := newRig(t)
	files := map[string]string{}
	for i := range count {
		files[fmt.Sprintf("k%d/a.yaml", i)] = configMap(fmt.Sprintf("a-%d", i), "1")
	}
	g.publish("v1", files)
	for i := range count {
		g.kustomization(fmt.Sprintf("k%d", i), func(s *kustomizev1.KustomizationSpec) { s.Path = fmt.Sprintf("./k%d", i) })
	}
	r := g.run(4)
	r.readyAll(count, "v1")
	r.asked()

	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a-7", Namespace: g.ns}}
	if err := g.Patch(t.Context(), cm, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"by hand"}}`)), client.FieldOwner("operator")); err != nil {
		t.Fatal(err)
	}
	g.await("a-7 is corrected", func() string {
		if got := g.value("a-7"); got != "1" {
			return got
		}
		return ""
	})
	if asked := r.asked(); len(asked) != 1 || !strings.HasPrefix(asked[0], "patch") {
		t.Errorf("a correction asked\n%s", strings.Join(asked, "\n"))
	}

	files["k3/a.yaml"] = configMap("a-3", "2")
	g.publish("v2", files)
	r.readyAll(count, "v2")
	var writes, statuses []string
	for _, a := range r.asked() {
		switch {
		case strings.Contains(a, "/status"):
			statuses = append(statuses, a)
		default:
			writes = append(writes, a)
		}
	}
	if len(writes) != 1 || !strings.Contains(writes[0], "/configmaps/a-3") {
		t.Errorf("a commit to one of %d asked\n%s", count, strings.Join(writes, "\n"))
	}
	if len(statuses) != count {
		t.Errorf("%d statuses were written for a new revision, want one for each of %d", len(statuses), count)
	}
}

// Fifty rollouts that never end do not hold a worker: with four of them, others
// are served as if the fifty were not there.
func TestSlowRolloutsHoldNoWorker(t *testing.T) {
	const slow = 50
	g := newRig(t)
	files := map[string]string{"quick/a.yaml": configMap("quick", "1")}
	for i := range slow {
		files[fmt.Sprintf("s%d/web.yaml", i)] = strings.ReplaceAll(deployment, "name: web\nspec", fmt.Sprintf("name: web-%d\nspec:\n  paused: true\n  replicas: 1\n#", i))
	}
	g.publish("v1", files)
	for i := range slow {
		g.kustomization(fmt.Sprintf("s%d", i), func(s *kustomizev1.KustomizationSpec) {
			s.Path, s.Wait, s.Timeout = fmt.Sprintf("./s%d", i), true, &hour
		})
	}
	r := g.run(4)
	r.await("all of them wait for health", func() string {
		var all kustomizev1.KustomizationList
		if err := r.List(t.Context(), &all, client.InNamespace(g.ns)); err != nil {
			return err.Error()
		}
		waiting := 0
		for _, k := range all.Items {
			if c := apimeta.FindStatusCondition(k.Status.Conditions, meta.HealthyCondition); c != nil && c.Status == metav1.ConditionUnknown {
				waiting++
			}
		}
		if waiting != slow {
			return fmt.Sprintf("%d of %d", waiting, slow)
		}
		return ""
	})
	g.kustomization("quick", func(s *kustomizev1.KustomizationSpec) { s.Path = "./quick" })
	r.await("the quick one is applied", func() string {
		if got := g.value("quick"); got != "1" {
			return got
		}
		return ""
	})
	// A worker that was held would have been so for the timeout, an hour. That all
	// four are free shows in four more at once.
	var wg sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("more-%d", i)
		g.kustomization(name, func(s *kustomizev1.KustomizationSpec) { s.Path = "./quick"; s.NamePrefix = name + "-" })
		wg.Go(func() {
			r.await(name, func() string {
				cm := &corev1.ConfigMap{}
				if err := r.Get(t.Context(), g.key(name+"-quick"), cm); err != nil {
					return err.Error()
				}
				return ""
			})
		})
	}
	wg.Wait()
}

// Five hundred objects that fail, in one namespace, leave those of another one
// their usual pace.
func TestFailingNeighboursAreFair(t *testing.T) {
	const failing, probes = 500, 20
	crowd := testenv.Namespace(t)
	g := newRig(t)
	g.publish("v0", map[string]string{"app/a.yaml": configMap("a", "0")})
	g.kustomization("app", nil)
	r := g.run(4, crowd)
	pace := func(from int) time.Duration {
		var took []time.Duration
		for i := range probes {
			value := fmt.Sprint(from + i)
			began := time.Now()
			g.publish("v"+value, map[string]string{"app/a.yaml": configMap("a", value)})
			g.await("a is "+value, func() string {
				if got := g.value("a"); got != value {
					return got
				}
				return ""
			})
			took = append(took, time.Since(began))
		}
		return percentile(took, 95)
	}
	r.readyAll(1, "v0")
	usual := pace(1)

	repo := &sourcev1.GitRepository{}
	if err := g.Get(t.Context(), g.key("source"), repo); err != nil {
		t.Fatal(err)
	}
	theirs := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "source", Namespace: crowd}, Spec: repo.Spec}
	if err := g.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	broken := repo.Status.Artifact.DeepCopy()
	theirs.Status.Artifact = broken
	if err := g.Status().Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	for i := range failing {
		k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("f%d", i), Namespace: crowd}}
		k.Spec = kustomizev1.KustomizationSpec{Interval: hour, RetryInterval: &second, Path: "./no-such-path", Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "source"}}
		if err := g.Create(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	g.await("all of them fail", func() string {
		var all kustomizev1.KustomizationList
		if err := g.List(t.Context(), &all, client.InNamespace(crowd)); err != nil {
			return err.Error()
		}
		failed := 0
		for _, k := range all.Items {
			if apimeta.IsStatusConditionFalse(k.Status.Conditions, meta.ReadyCondition) {
				failed++
			}
		}
		if failed != failing {
			return fmt.Sprintf("%d of %d", failed, failing)
		}
		return ""
	})
	crowded := pace(1000)
	t.Logf("p95 %s alone, %s beside %d failing ones", usual.Round(time.Millisecond), crowded.Round(time.Millisecond), failing)
	if crowded > 2*usual+slowMachine {
		t.Errorf("p95 went from %s to %s", usual, crowded)
	}
}

// A server of artifacts that takes connections and says nothing holds no worker
// either: more objects than there are workers wait for it, and others go on.
func TestHangingDownloadsHoldNoWorker(t *testing.T) {
	g := newRig(t)
	g.o.FetchPatience = 20 * time.Millisecond
	g.restart()
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	repo := &sourcev1.GitRepository{}
	if err := g.Get(t.Context(), g.key("source"), repo); err != nil {
		t.Fatal(err)
	}
	hanging := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "hanging", Namespace: g.ns}, Spec: repo.Spec}
	if err := g.Create(t.Context(), hanging); err != nil {
		t.Fatal(err)
	}
	hanging.Status.Artifact = repo.Status.Artifact.DeepCopy()
	hanging.Status.Artifact.URL = "http://" + silent.Addr().String() + "/a.tar.gz"
	hanging.Status.Artifact.Digest = "sha256:" + strings.Repeat("1", 64)
	if err := g.Status().Update(t.Context(), hanging); err != nil {
		t.Fatal(err)
	}
	const stuck, workers = 9, 2
	for i := range stuck {
		g.kustomization(fmt.Sprintf("stuck-%d", i), func(s *kustomizev1.KustomizationSpec) { s.SourceRef.Name, s.Timeout = "hanging", &hour })
	}
	r := g.run(workers)
	r.waitWithoutWorkers(stuck, "Fetching manifests for revision v1")
	// A new artifact ends the wait for the old one.
	hanging.Status.Artifact = repo.Status.Artifact
	if err := g.Status().Update(t.Context(), hanging); err != nil {
		t.Fatal(err)
	}
	r.readyAll(stuck+1, "v1")
}

// A panic in a reconciliation makes its object not ready, and nothing else; the
// next attempt that goes well recovers it.
func TestPanicsCostOneObject(t *testing.T) {
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "other/b.yaml": configMap("b", "1")})
	g.kustomization("app", nil)
	g.kustomization("other", func(s *kustomizev1.KustomizationSpec) { s.Path = "./other" })
	fetcher := g.worker.Fetcher
	g.worker.Fetcher = nil
	k, _ := g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.FailedReason); !strings.Contains(message, "internal error") {
		t.Errorf("Ready says %q", message)
	}
	g.worker.Fetcher = fetcher
	k, _ = g.reconcile("other")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "2")})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
}
