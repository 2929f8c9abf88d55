package process

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: name}}
}

// However an item comes in, the queue knows since when it has been due.
func TestQueueKnowsWhatIsDue(t *testing.T) {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Hour, 2*time.Hour)
	q := newQueue("some", limiter, logr.Discard())
	defer q.ShutDown()
	var _ priorityqueue.PriorityQueue[reconcile.Request] = q // else controller-runtime would ignore priorities
	q.Add(request("added"))
	q.AddWithOpts(priorityqueue.AddOpts{Priority: new(5)}, request("urgent"))
	q.AddAfter(request("later"), 10*time.Minute)
	q.AddAfter(request("later"), 20*time.Minute) // the earlier one stays
	q.AddRateLimited(request("failed"))          // in an hour
	for deadline := time.Now().Add(30 * time.Second); ; {
		if all, _, _ := q.load(time.Now()); all == 4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the delay of the limiter was not noted")
		}
		time.Sleep(time.Millisecond) // the limiter is asked by a goroutine of the queue
	}
	now := time.Now()
	if all, due, oldest := q.load(now); all != 4 || due != 2 || oldest > time.Minute {
		t.Errorf("%d items, %d due, the oldest for %s", all, due, oldest)
	}
	if _, due, oldest := q.load(now.Add(15 * time.Minute)); due != 3 || oldest < 15*time.Minute {
		t.Errorf("in 15 minutes %d are due, the oldest for %s", due, oldest)
	}
	if _, due, _ := q.load(now.Add(61 * time.Minute)); due != 4 {
		t.Errorf("in 61 minutes %d are due", due)
	}
	if item, priority, _ := q.GetWithPriority(); item != request("urgent") || priority != 5 {
		t.Errorf("first comes %s with %d", item, priority)
	}
	if item, _ := q.Get(); item != request("added") {
		t.Errorf("then comes %s", item)
	}
	if all, due, _ := q.load(now); all != 2 || due != 0 {
		t.Errorf("%d items are left, %d due", all, due)
	}
}

// gather returns the series of a collector, as name{label="value",...} to value.
func gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			out[f.GetName()+named(m)] = m.GetGauge().GetValue()
		}
	}
	return out
}

func named(m *dto.Metric) string {
	var parts []string
	for _, l := range m.Label {
		if l.GetValue() != "" {
			parts = append(parts, l.GetName()+"="+l.GetValue())
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestResourcesAreExportedAsTheyAre(t *testing.T) {
	c := testenv.Client(t, sourcev1.AddToScheme, kustomizev1.AddToScheme, notificationv1beta3.AddToScheme)
	ns := testenv.Namespace(t)
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: ns}, Spec: sourcev1.GitRepositorySpec{
		URL: "https://example.com/app.git?token=abcdef", Interval: duration.New(time.Minute),
	}}
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: ns}, Spec: kustomizev1.KustomizationSpec{
		Interval: duration.New(time.Minute), Prune: true, Suspend: true,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"},
	}}
	p := &notificationv1beta3.Provider{ObjectMeta: metav1.ObjectMeta{Name: "chat", Namespace: ns}, Spec: notificationv1beta3.ProviderSpec{Type: "slack"}}
	for _, obj := range []client.Object{repo, k, p} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	repo.Status.Artifact = &meta.Artifact{
		Revision: "main@sha1:1234", Digest: "sha256:" + strings.Repeat("0", 64), Path: "p", URL: "http://x/p", Size: new(int64(4711)), LastUpdateTime: metav1.Now(),
	}
	repo.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue, Reason: "Succeeded", LastTransitionTime: metav1.Now()}}
	if err := c.Status().Update(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	leads := make(chan struct{})
	schedule := &Schedule{}
	schedule.Set("GitRepository", client.ObjectKeyFromObject(repo), time.Now().Add(-time.Hour))
	schedule.Set("Kustomization", client.ObjectKeyFromObject(k), time.Now().Add(-time.Hour)) // it was suspended since
	r := &resources{
		kinds:  []client.Object{&sourcev1.GitRepository{}, &kustomizev1.Kustomization{}, &notificationv1beta3.Provider{}},
		scheme: c.Scheme(), cache: client.NewNamespacedClient(c, ns), leads: leads, schedule: schedule,
	}
	if got := gather(t, r); len(got) != 0 {
		t.Errorf("a replica that does not lead exports %v", got)
	}
	close(leads)
	got := gather(t, r)
	id := "exported_namespace=" + ns
	for series, want := range map[string]float64{
		"gotk_resource_info{customresource_group=source.toolkit.fluxcd.io,customresource_kind=GitRepository,customresource_version=v1," + id +
			",name=app,ready=True,reason=Succeeded,revision=main@sha1:1234,suspended=false,url=https://example.com/app.git}": 1,
		"gotk_resource_info{customresource_group=kustomize.toolkit.fluxcd.io,customresource_kind=Kustomization,customresource_version=v1," + id +
			",name=app,source_name=app,suspended=true}": 1,
		"gotk_resource_info{customresource_group=notification.toolkit.fluxcd.io,customresource_kind=Provider,customresource_version=v1beta3," + id +
			",name=chat,suspended=false}": 1,
		"gotk_suspend_status{kind=Kustomization,name=app,namespace=" + ns + "}":                                1,
		"gotk_suspend_status{kind=GitRepository,name=app,namespace=" + ns + "}":                                0,
		"gotk_suspend_status{kind=Provider,name=chat,namespace=" + ns + "}":                                    0,
		"gotk_reconcile_condition{kind=GitRepository,name=app,namespace=" + ns + ",status=True,type=Ready}":    1,
		"gotk_reconcile_condition{kind=GitRepository,name=app,namespace=" + ns + ",status=False,type=Ready}":   0,
		"gotk_reconcile_condition{kind=GitRepository,name=app,namespace=" + ns + ",status=Unknown,type=Ready}": 0,
		"weir_artifact_size_bytes{exported_namespace=" + ns + ",kind=GitRepository,name=app}":                  4711,
		"weir_resource_overdue_seconds{exported_namespace=" + ns + ",kind=GitRepository,name=app}":             3600,
	} {
		value, ok := got[series]
		if want == 3600 {
			value = min(value, want) // time goes on
		}
		if !ok || value != want {
			t.Errorf("%s = %v (%v), want %v", series, value, ok, want)
		}
		delete(got, series)
	}
	for series := range got {
		t.Errorf("%s is exported, too", series)
	}
	for _, obj := range []client.Object{repo, k, p} {
		if err := c.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	if got := gather(t, r); len(got) != 0 {
		t.Errorf("without objects there are %v", got)
	}
}

// A label stays within its bound, and valid.
func TestLabelsAreBounded(t *testing.T) {
	long := strings.Repeat("é", maxLabel)
	if got := label(long[1:]); len(got) > maxLabel || strings.ToValidUTF8(got, "?") != got {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
