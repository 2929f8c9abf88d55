package gitrepository

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

func request(repo *sourcev1.GitRepository) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(repo)}
}

func including(name, from, to string) func(*sourcev1.GitRepository) {
	return func(r *sourcev1.GitRepository) {
		r.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: name}, FromPath: from, ToPath: to}}
	}
}

func TestInclude(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "app", "lib/own.yaml": "own"})
	g.init("other", map[string]string{"b.yaml": "other", "base/c.yaml": "base", "base/deep/d.yaml": "deep"})
	tests := map[string]struct {
		from, to string
		want     map[string]string
	}{
		"defaults":      {"", "", map[string]string{"other/b.yaml": "other", "other/base/c.yaml": "base", "other/base/deep/d.yaml": "deep"}},
		"folder":        {"base", "x/y", map[string]string{"x/y/c.yaml": "base", "x/y/deep/d.yaml": "deep"}},
		"file":          {"base/c.yaml", "x/renamed.yaml", map[string]string{"x/renamed.yaml": "base"}},
		"into a folder": {"./base/deep/", "lib/deep", map[string]string{"lib/deep/d.yaml": "deep"}},
		"with a dot":    {"base/deep", ".hidden/deep", map[string]string{".hidden/deep/d.yaml": "deep"}},
	}
	g.create("other", nil)
	other := g.Ready("other").Status.Artifact
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g.T = t
			object := strings.ReplaceAll(name, " ", "-")
			g.create(object, func(r *sourcev1.GitRepository) {
				r.Spec.URL = g.git.URL("app")
				including("other", tt.from, tt.to)(r)
			})
			repo := g.Ready(object)
			want := map[string]string{"a.yaml": "app", "lib/own.yaml": "own"}
			for p, data := range tt.want {
				want[p] = data
			}
			if d := cmp.Diff(want, g.Content(repo.Status.Artifact)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			if d := cmp.Diff([]*meta.Artifact{other}, repo.Status.IncludedArtifacts); d != "" {
				t.Errorf("includedArtifacts (-want +got):\n%s", d)
			}
			if d := cmp.Diff(repo.Spec.Include, repo.Status.ObservedInclude); d != "" {
				t.Errorf("observedInclude (-want +got):\n%s", d)
			}
			if again := g.Ready(object); again.ResourceVersion != repo.ResourceVersion {
				t.Error("a second look wrote the object")
			}
		})
	}
}

func TestIncludeFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "app", "lib/own.yaml": "own"})
	g.init("other", map[string]string{"b.yaml": "other"})
	g.create("other", nil)
	g.Ready("other")
	g.create("new", func(r *sourcev1.GitRepository) { r.Spec.URL = g.git.URL("other") })
	g.create("back", func(r *sourcev1.GitRepository) {
		r.Spec.URL = g.git.URL("other")
		including("in-a-ring", "", "x")(r)
	})
	tests := map[string]struct {
		repo, from, to string
		reason         string
		texts          []string
	}{
		"not-there":   {"none", "", "", sourcev1.NotFoundReason, []string{"spec.include[0]", `"none"`}},
		"no-artifact": {"new", "", "", sourcev1.NoArtifactReason, []string{`"new"`}},
		"itself":      {"itself", "", "", sourcev1.CopyFailureReason, []string{"includes this repository"}},
		"in-a-ring":   {"back", "", "", sourcev1.CopyFailureReason, []string{"includes this repository"}},
		"climbing-to": {"other", "", "../x", sourcev1.IllegalPathReason, []string{`"../x"`}},
		"absolute-to": {"other", "", "/etc", sourcev1.IllegalPathReason, []string{`"/etc"`}},
		"root":        {"other", "", ".", sourcev1.IllegalPathReason, nil},
		"climbing":    {"other", "a/../../x", "x", sourcev1.IllegalPathReason, nil},
		"no-such":     {"other", "none", "x", sourcev1.CopyFailureReason, []string{`"none"`}},
		"taken":       {"other", "", "lib", sourcev1.CopyFailureReason, []string{`"lib"`, "toPath"}},
		"below-file":  {"other", "", "a.yaml/x", sourcev1.CopyFailureReason, []string{`"a.yaml"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g.T = t
			g.create(name, func(r *sourcev1.GitRepository) {
				r.Spec.URL = g.git.URL("app")
				including(tt.repo, tt.from, tt.to)(r)
			})
			if repo := g.Fails(name, tt.reason, tt.texts...); repo.Status.Artifact != nil {
				t.Error("an artifact was published")
			}
		})
	}
}

// A new artifact of an included repository brings the including one up, without
// waiting for its interval.
func TestIncludeFollows(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "app"})
	g.init("other", map[string]string{"b.yaml": "1"})
	g.share = time.Hour // who asks for a reconciliation is not answered from memory
	g.restart()
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{
		Scheme: g.C.Scheme(), Metrics: server.Options{BindAddress: "0"}, Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{g.NS: {}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	env := &process.Env{Name: g.Env.Name, FieldOwner: g.Env.FieldOwner, Manager: mgr, Recorder: g.Env.Recorder, Concurrent: 2}
	o := g.o
	o.Client, o.RequeueDependency = mgr.GetClient(), time.Hour
	ctx, stop := context.WithCancel(t.Context())
	if err := New(o).Setup(ctx, env); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	g.create("app", including("other", "", ""))
	g.create("other", nil)
	wait(t, g, "1")
	g.commit("other", "two", map[string]string{"b.yaml": "2"})
	g.Update("other", func(r *sourcev1.GitRepository) {
		r.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
	})
	wait(t, g, "2")
}

// wait returns when the artifact of app has want in the file that it includes.
func wait(t *testing.T, g *rig, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if repo := g.Get("app"); repo.Status.Artifact != nil && g.Content(repo.Status.Artifact)["other/b.yaml"] == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("app does not include %q: %+v", want, g.Get("app").Status)
}
