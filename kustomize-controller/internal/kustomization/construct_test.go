package kustomization

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
)

// slowBase is a loader of remote bases that takes as long as the test wants. One
// named "broken" makes it panic.
type slowBase struct{ open chan struct{} }

func (s slowBase) Resolve(ctx context.Context, url string) (string, error) {
	if strings.Contains(url, "broken") {
		panic("this base is broken")
	}
	select {
	case <-s.open:
		return "id", nil
	case <-ctx.Done():
		return "", errors.Join(build.ErrRemote, ctx.Err())
	}
}

func (s slowBase) Load(context.Context, string, string) (*build.Remote, error) {
	return &build.Remote{ID: "id", Name: "slow", Path: "/", Tree: artifact.NewTree(map[string][]byte{
		"a.yaml": []byte(configMap("far", "1")), "kustomization.yaml": []byte("resources: [a.yaml]\n")}, nil)}, nil
}

const slowOverlay = "resources: [\"https://example.com/slow?ref=main\"]\n"

// Builds that take long hold no worker, whatever their number: others are built
// and applied, and each comes back when its build is done.
func TestSlowBuildsHoldNoWorker(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	base := slowBase{make(chan struct{})}
	g.o.Builder, g.o.BuildPatience = build.New(build.Options{Remote: base}), 20*time.Millisecond
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "slow/kustomization.yaml": slowOverlay})
	const stuck, workers = 5, 2
	for i := range stuck {
		g.kustomization(fmt.Sprintf("slow-%d", i), func(s *kustomizev1.KustomizationSpec) {
			s.Path, s.Timeout, s.NamePrefix = "./slow", &hour, fmt.Sprintf("p%d-", i)
		})
	}
	r := g.run(workers)
	r.waitWithoutWorkers(stuck, "Building manifests for revision v1")
	close(base.open)
	r.readyAll(stuck+1, "v1")
	if got := g.value("p3-far"); got != "1" {
		t.Errorf("what a slow build made is %s", got)
	}
}

// A build ends with the timeout of its Kustomization, and what goes wrong in it
// is told like everything else.
func TestBuildsEndWithTheTimeout(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.o.Builder, g.o.BuildPatience = build.New(build.Options{Remote: slowBase{make(chan struct{})}}), time.Millisecond
	g.restart()
	g.worker.ring = func(client.ObjectKey) {}
	g.publish("v1", map[string]string{"slow/kustomization.yaml": slowOverlay, "broken/kustomization.yaml": strings.ReplaceAll(slowOverlay, "slow", "broken"),
		"app/a.yaml": configMap("a", "1")})
	g.kustomization("slow", func(s *kustomizev1.KustomizationSpec) { s.Path = "./slow" })
	k, result := g.reconcile("slow")
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)
	if result.RequeueAfter <= 0 || result.RequeueAfter > k.GetTimeout() {
		t.Errorf("it comes back after %s", result.RequeueAfter)
	}
	g.worker.recall(k).site.began = time.Now().Add(-k.GetTimeout())
	k, _ = g.reconcile("slow")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason); !strings.Contains(message, "deadline exceeded") {
		t.Errorf("Ready says %q", message)
	}
	if g.worker.recall(k).site != nil {
		t.Error("the build is still waited for")
	}

	// What nobody came for is not used when somebody comes late.
	k, _ = g.reconcile("slow")
	b := g.worker.recall(k).site
	b.cancel()
	<-b.done
	b.built, b.err, b.ended = &build.Result{}, nil, time.Now().Add(-time.Hour)
	k, _ = g.reconcile("slow")
	g.wantReady(k, metav1.ConditionUnknown, meta.ProgressingReason)

	// Another path is another build.
	g.edit("slow", func(k *kustomizev1.Kustomization) { k.Spec.Path = "./app" })
	g.worker.BuildPatience = time.Minute
	k, _ = g.reconcile("slow")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)

	g.kustomization("broken", func(s *kustomizev1.KustomizationSpec) { s.Path, s.Interval = "./broken", duration.New(time.Hour) })
	g.worker.BuildPatience = time.Nanosecond // it panics while nobody waits
	k, _ = g.reconcile("broken")
	if b := g.worker.recall(k).site; b != nil {
		<-b.done
		k, _ = g.reconcile("broken")
	}
	if message := g.wantReady(k, metav1.ConditionFalse, meta.FailedReason); !strings.Contains(message, "internal error") {
		t.Errorf("Ready says %q", message)
	}
}

// A panic in a download is an error of its object, not the end of the process.
func TestPanicsOfDownloads(t *testing.T) {
	t.Parallel()
	d := &download{url: "http://127.0.0.1/a.tar.gz", digest: "sha256:" + strings.Repeat("1", 64), errand: errand{done: make(chan struct{})}}
	d.run(t.Context(), func(ctx context.Context) error { return d.fetch(ctx, nil) })
	<-d.done
	if d.err == nil || !strings.Contains(d.err.Error(), "internal error") {
		t.Errorf("the error is %v", d.err)
	}
}
