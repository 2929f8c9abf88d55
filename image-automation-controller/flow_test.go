package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

// patience bounds how long a test waits for something that must happen.
const patience = 20 * time.Second

// start runs the program's own wiring for a namespace until the test ends.
func start(t *testing.T, scheme *runtime.Scheme, namespace string) {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr(true)},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	env := &process.Env{
		Name: "image-automation-controller", FieldOwner: "image-automation-controller", Manager: mgr, Concurrent: 4, RequeueDependency: 30 * time.Second,
		Recorder: events.New(events.Options{Controller: "image-automation-controller", Scheme: scheme}),
	}
	o := options{storage: t.TempDir()}
	if err := o.setup(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
}

// TestTagToCommit follows new image tags through the running program. All intervals
// are an hour, so each step comes from the one before.
func TestTagToCommit(t *testing.T) {
	pushes := make(chan string, 100)
	l := newLab(t, labOptions{git: gitserver.Options{OnPush: func(repo string) { pushes <- repo }}})
	repo := l.repository("web", "1.0.0")
	l.policy("web", "web", ">=1.0.0")
	l.policy("latest", "web", ">=1.0.0")
	marked := func(tag string) string {
		return fmt.Sprintf("a: %s:%s # {\"$imagepolicy\": \"%s:web\"}\nb: %s # {\"$imagepolicy\": \"%s:latest:tag\"}\n", l.registry.image("web"), tag, l.ns, tag, l.ns)
	}
	auto := l.automation("fleet", map[string]string{"web.yaml": marked("0.9.0"), "copy/web.yaml": marked("0.9.0")}, nil)
	start(t, l.c.Scheme(), l.ns)
	// written waits until both files have the tag, however many commits that takes.
	written := func(tag string) {
		t.Helper()
		for l.file("fleet", "main", "web.yaml") != marked(tag) || l.file("fleet", "main", "copy/web.yaml") != marked(tag) {
			waitPush(t, pushes)
		}
		waitFor(t, l.c, auto, func(auto *imagev1.ImageUpdateAutomation) bool {
			return auto.Status.ObservedPolicies["latest"].Tag == tag && auto.Status.ObservedPolicies["web"].Tag == tag && auto.Status.LastPushTime != nil
		})
	}
	written("1.0.0")
	l.registry.push("web", "1.1.0")
	begin, requests := time.Now(), l.registry.requests.Load()
	poke(t, l.c, repo)
	written("1.1.0")
	t.Logf("poke to push: %s", time.Since(begin).Round(time.Millisecond))
	if n := l.registry.requests.Load() - requests; n != 1 {
		t.Errorf("the way from the tag to the commit cost %d requests to the registry, want 1", n)
	}

	// Policies that have changed when the automation runs make one commit.
	suspend := func(on bool) { l.update(auto, func() { auto.Spec.Suspend = on }) }
	suspend(true)
	before := len(l.log("fleet", "main"))
	l.registry.push("web", "1.2.0")
	poke(t, l.c, repo)
	for _, name := range []string{"web", "latest"} {
		waitFor(t, l.c, &imagev1.ImagePolicy{ObjectMeta: l.meta(name)}, func(p *imagev1.ImagePolicy) bool {
			return p.Status.LatestRef != nil && p.Status.LatestRef.Tag == "1.2.0"
		})
	}
	suspend(false)
	written("1.2.0")
	if log := l.log("fleet", "main"); len(log) != before+1 {
		t.Errorf("two policies made more than one commit: %q", log)
	}

	// Nothing but the scan itself happens when a scan finds nothing new.
	poke(t, l.c, repo)
	waitFor(t, l.c, repo, func(r *imagev1.ImageRepository) bool {
		return r.Status.LastHandledReconcileAt == r.Annotations[meta.ReconcileRequestAnnotation]
	})
	if log := l.log("fleet", "main"); len(log) != before+1 {
		t.Errorf("a scan without news pushed: %q", log)
	}
}

func waitPush(t *testing.T, pushes <-chan string) {
	t.Helper()
	select {
	case <-pushes:
	case <-time.After(patience):
		t.Fatal("nothing was pushed")
	}
}

func poke(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano))
	if err := c.Patch(t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// waitFor watches an object until it is as it should be.
func waitFor[T client.Object](t *testing.T, c client.WithWatch, obj T, done func(T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var list client.ObjectList
	switch any(obj).(type) {
	case *imagev1.ImageRepository:
		list = &imagev1.ImageRepositoryList{}
	case *imagev1.ImagePolicy:
		list = &imagev1.ImagePolicyList{}
	default:
		list = &imagev1.ImageUpdateAutomationList{}
	}
	w, err := c.Watch(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFields{"metadata.name": obj.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if now, ok := e.Object.(T); ok && done(now) {
			return
		}
	}
	t.Fatalf("%T %s did not become what it should be", obj, obj.GetName())
}
