package imagerepository

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
	"github.com/weirhq/weir/internal/registry"
)

// TestRescans scans 50 repositories of 10,000 tags again and again: 100 times more, or
// 1,000 with WEIR_LOAD set. Memory stays, and an unchanged scan is one request.
func TestRescans(t *testing.T) {
	const repositories, tags = 50, 10_000
	rounds := 2
	if os.Getenv("WEIR_LOAD") != "" {
		rounds = 20
	}
	var list strings.Builder
	list.WriteString(`{"tags":["v0.0.0"`)
	for i := 1; i < tags; i++ {
		fmt.Fprintf(&list, `,"v1.%d.%d-%08x"`, i/100, i%100, i*2654435761)
	}
	list.WriteString("]}")
	body := []byte(list.String())
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			_, _ = w.Write(body)
		}
	}))
	defer s.Close()
	store, err := tagdb.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := &Reconciler{Registry: &registry.Client{}, Tags: store, Now: time.Now}
	repos := make([]*imagev1.ImageRepository, repositories)
	for i := range repos {
		repos[i] = &imagev1.ImageRepository{}
		repos[i].Namespace, repos[i].Name = "load", fmt.Sprintf("repo-%d", i)
		repos[i].Spec.Image = fmt.Sprintf("%s/org/app-%d", strings.TrimPrefix(s.URL, "http://"), i)
		repos[i].Spec.Interval = duration.New(time.Hour)
	}
	round := func() {
		for _, repo := range repos {
			if _, err := r.Reconcile(t.Context(), repo); err != nil {
				t.Fatal(err)
			}
		}
	}
	round()
	first := heap()
	for range rounds {
		requests.Store(0)
		round()
		if n := requests.Load(); n != repositories {
			t.Errorf("a round of unchanged scans cost %d requests, want one for each of %d", n, repositories)
		}
	}
	last := heap()
	t.Logf("heap %d KiB after the first round, %d KiB after %d scans more", first>>10, last>>10, rounds*repositories)
	if last > 100<<20 || last > first+first/2+(4<<20) {
		t.Errorf("the heap grew from %d to %d bytes", first, last)
	}
	if n := store.Reads(); n > repositories {
		t.Errorf("the tags were read %d times", n)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
