package helmchart

import (
	"context"
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"k8s.io/client-go/tools/record"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/chartindex"
	"github.com/weirhq/weir/source-controller/internal/chartrepo"
)

// TestSourceBringsChartBack asserts that a new index makes a new artifact without
// waiting for the interval.
func TestSourceBringsChartBack(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.offer("app@1.0.0")
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{Scheme: g.C.Scheme(), Metrics: server.Options{BindAddress: "0"}, Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{g.NS: {}}}})
	must(t, err)
	recorder := events.New(events.Options{Controller: "source-controller", Scheme: g.C.Scheme(), Kubernetes: record.NewFakeRecorder(100)})
	env := &process.Env{Name: "source-controller", FieldOwner: "source-controller", Manager: mgr, Recorder: recorder, Concurrent: 1}
	must(t, New(Options{
		Client: mgr.GetClient(), Live: g.C, Recorder: recorder, Store: g.Store, HTTP: &chartrepo.Client{}, Indexes: chartindex.NewCache(0, 0), RequeueDependency: time.Hour,
	}).Setup(t.Context(), env))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	g.create("app", "HelmRepository", "web", "app", nil)
	published := func(version string) {
		t.Helper()
		obj := &sourcev1.HelmChart{}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			must(t, g.C.Get(t.Context(), g.Key("app"), obj))
			if obj.Status.Artifact != nil && obj.Status.Artifact.Revision == version {
				return
			}
		}
		t.Fatalf("version %q is not published: %+v", version, obj.Status)
	}
	published("1.0.0")
	g.offer("app@1.0.0", "app@1.1.0")
	published("1.1.0")
}
