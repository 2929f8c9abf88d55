package apply

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestCorrectionLatency measures the time from the answer to an edit until the
// object is right again, which is asked for with a watch of it.
func TestCorrectionLatency(t *testing.T) {
	n := 20
	if os.Getenv("WEIR_FIGURES") != "" {
		n = 200
	}
	for name, by := range map[string]string{"operator": "operator", "kubectl": "kubectl-edit"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			o := l.configMap("cm", "ours")
			s := l.set(o)
			l.want(s, "created 1", 2)
			l.caughtUp(o)
			stop := l.keep(s)
			defer stop()
			l.meter.take()
			w, err := l.res(o).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=cm"})
			must(t, err)
			defer w.Stop()
			var took []time.Duration
			for i := range n {
				l.mu.Lock()
				clear(l.fights) // each edit is somebody's first
				l.mu.Unlock()
				u, err := l.res(o).Patch(context.Background(), "cm", types.MergePatchType, fmt.Appendf(nil, `{"data":{"a":"theirs-%d"}}`, i), metav1.PatchOptions{FieldManager: by})
				must(t, err)
				began, edited := time.Now(), u.GetResourceVersion()
				for ev := range w.ResultChan() {
					u := ev.Object.(interface {
						GetResourceVersion() string
						UnstructuredContent() map[string]any
					})
					if u.UnstructuredContent()["data"].(map[string]any)["a"] == "ours" && u.GetResourceVersion() > edited {
						break
					}
				}
				took = append(took, time.Since(began))
			}
			stop()
			slices.Sort(took)
			requests, _ := l.meter.take()
			t.Logf("edited by %s: p50 %s, p99 %s, %.2f requests each", by, took[n/2], took[n*99/100], float64(requests)/float64(n))
			if took[n/2] > 300*time.Millisecond {
				t.Errorf("half of the corrections took longer than %s", took[n/2])
			}
			if most := map[string]int{"operator": 1, "kubectl": 2}[name]; requests > most*n {
				t.Errorf("%d requests for %d edits", requests, n)
			}
		})
	}
}

// TestMemory measures what is kept of an object once it was applied.
func TestMemory(t *testing.T) {
	const n = 50_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	tb := drift.NewTable(drift.Policy{Manager: "kustomize-controller"})
	for i := range n {
		k := drift.KeyOf("ns", fmt.Sprint(i))
		tb.Begin(k)
		m := &metav1.PartialObjectMetadata{}
		m.ResourceVersion = fmt.Sprint(i + 1)
		tb.Commit(k, drift.Outcome{Object: m, Sum: uint64(i)})
	}
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes an object", each)
	if each > 200 {
		t.Errorf("%.0f bytes an object, want at most 200", each)
	}
	runtime.KeepAlive(tb)
}

// BenchmarkApplyNothing is the cost of a Set in which nothing is to be done.
func BenchmarkApplyNothing(b *testing.B) {
	l := newLab(b)
	var objects []build.Object
	for i := range 100 {
		objects = append(objects, l.configMap(fmt.Sprintf("cm-%d", i), "one"))
	}
	_, err := l.try(l.set(objects...))
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.As("").Apply(b.Context(), l.set(objects...), nil); err != nil {
			b.Fatal(err)
		}
	}
}
