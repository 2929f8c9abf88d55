package process

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

// cached is a cache of Kustomizations, which are not copied.
type cached struct {
	client.Reader
	items []kustomizev1.Kustomization
}

func (c cached) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*kustomizev1.KustomizationList).Items = c.items
	return nil
}

// many is a program with n Kustomizations that say as much as they can.
func many(t testing.TB, n int) *resources {
	t.Helper()
	scheme, leads, c, schedule := runtime.NewScheme(), make(chan struct{}), cached{}, &Schedule{}
	if err := kustomizev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	close(leads)
	for i := range n {
		k := kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%d", i%20), Name: fmt.Sprintf("application-%d", i)}}
		k.Spec.SourceRef.Name = "repository-of-the-team"
		k.Status.LastAppliedRevision = "main@sha1:" + strings.Repeat("0", 40)
		k.Status.Conditions = []metav1.Condition{{Type: meta.ReadyCondition, Status: metav1.ConditionTrue, Reason: meta.ReconciliationSucceededReason}}
		c.items = append(c.items, k)
		schedule.Set(kustomizev1.KustomizationKind, types.NamespacedName{Namespace: k.Namespace, Name: k.Name}, time.Now().Add(time.Hour))
	}
	return &resources{kinds: []client.Object{&kustomizev1.Kustomization{}}, scheme: scheme, cache: c, leads: leads, schedule: schedule}
}

// scrape returns how many series and bytes a scrape of r has.
func scrape(t testing.TB, r *resources) (series, size int) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		series += len(f.Metric)
		if err := e.Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	return series, out.Len()
}

// What is told of objects costs in proportion to them, and not much: six series
// and a kilobyte for each.
func TestAScrapeCostsLittle(t *testing.T) {
	const n = 1000
	r := many(t, n)
	series, size := scrape(t, r)
	allocs := testing.AllocsPerRun(3, func() { scrape(t, r) })
	t.Logf("an object costs %d series, %d bytes and %.0f allocations", series/n, size/n, allocs/n)
	if series != 6*n || size > 1100*n || allocs > 200*n {
		t.Errorf("%d objects cost %d series, %d bytes and %.0f allocations", n, series, size, allocs)
	}
}

func BenchmarkScrapeOf1000(b *testing.B) {
	r := many(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		scrape(b, r)
	}
}
