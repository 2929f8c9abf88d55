package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
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

// start runs the program's own wiring until the test ends.
func start(t *testing.T, scheme *runtime.Scheme) {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr(true)},
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

// TestTagToCommit follows a new image tag through the running program: two
// policies choose it, and one commit writes both.
func TestTagToCommit(t *testing.T) {
	pushes := make(chan string, 100)
	l := newLab(t, labOptions{git: gitserver.Options{OnPush: func(repo string) { pushes <- repo }}})
	repo := l.repository("web", "1.0.0")
	l.policy("web", "web", ">=1.0.0")
	l.policy("latest", "web", ">=1.0.0")
	marked := func(tag string) string {
		return fmt.Sprintf("a: %s:%s # {\"$imagepolicy\": \"%s:web\"}\nb: %s # {\"$imagepolicy\": \"%s:latest:tag\"}\n", l.registry.image("web"), tag, l.ns, tag, l.ns)
	}
	l.automation("fleet", map[string]string{"web.yaml": marked("1.0.0"), "copy/web.yaml": marked("0.9.0")}, nil)
	start(t, l.c.Scheme())
	waitPush(t, pushes)
	if diff := cmp.Diff(marked("1.0.0"), l.file("fleet", "main", "copy/web.yaml")); diff != "" {
		t.Error(diff)
	}
	first := len(l.log("fleet", "main"))

	l.registry.push("web", "1.1.0")
	begin := time.Now()
	poke(t, l.c, repo)
	waitPush(t, pushes)
	t.Logf("poke to push: %s", time.Since(begin).Round(time.Millisecond))
	for _, file := range []string{"web.yaml", "copy/web.yaml"} {
		if diff := cmp.Diff(marked("1.1.0"), l.file("fleet", "main", file)); diff != "" {
			t.Error(diff)
		}
	}
	if log := l.log("fleet", "main"); len(log) != first+1 {
		t.Errorf("two policies made more than one commit: %q", log)
	}
	waitFor(t, l.c, &imagev1.ImageUpdateAutomation{ObjectMeta: l.meta("fleet")}, func(auto *imagev1.ImageUpdateAutomation) bool {
		return auto.Status.ObservedPolicies["latest"].Tag == "1.1.0" && auto.Status.LastPushTime != nil
	})

	// Nothing but the scan itself happens when a scan finds nothing new.
	poke(t, l.c, repo)
	waitFor(t, l.c, repo, func(r *imagev1.ImageRepository) bool {
		return r.Status.LastHandledReconcileAt == r.Annotations[meta.ReconcileRequestAnnotation]
	})
	select {
	case <-pushes:
		t.Error("a scan without news pushed")
	default:
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
	var list client.ObjectList = &imagev1.ImageUpdateAutomationList{}
	if strings.HasSuffix(fmt.Sprintf("%T", obj), "ImageRepository") {
		list = &imagev1.ImageRepositoryList{}
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
