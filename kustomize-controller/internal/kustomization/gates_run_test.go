package kustomization

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
)

// behind is a client whose cache has not seen what a source has now.
type behind struct {
	client.Client
	repo *sourcev1.GitRepository
}

func (b behind) Get(ctx context.Context, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
	if repo, ok := obj.(*sourcev1.GitRepository); ok {
		b.repo.DeepCopyInto(repo)
		return nil
	}
	return b.Client.Get(ctx, key, obj, o...)
}

// With the gate DirectSourceFetch, a source is read from the API server, however
// far the cache is behind.
func TestSourcesReadDirectly(t *testing.T) {
	t.Parallel()
	for _, gate := range []bool{false, true} {
		g := newRig(t)
		g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
		old := &sourcev1.GitRepository{}
		if err := g.Get(t.Context(), g.key("source"), old); err != nil {
			t.Fatal(err)
		}
		g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "2")})
		g.kustomization("app", nil)
		g.o.Client, g.o.FreshSources = behind{g.Client, old}, gate
		g.restart()
		k, _ := g.reconcile("app")
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
		want := map[bool]string{false: "v1", true: "v2"}[gate]
		if k.Status.LastAppliedRevision != want {
			t.Errorf("gate %t: revision %s was applied, want %s", gate, k.Status.LastAppliedRevision, want)
		}
	}
}

// Labelled ConfigMaps and Secrets are watched, and their changes heeded, unless
// the gate DisableConfigWatchers says otherwise.
func TestConfigWatchersCanBeDisabled(t *testing.T) {
	t.Parallel()
	for _, disabled := range []bool{false, true} {
		t.Run(fmt.Sprintf("disabled %t", disabled), func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.o.WatchConfigs = !disabled // which is what the gate is for
			vars := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vars", Namespace: g.ns, Labels: map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}},
				Data: map[string]string{"value": "1"}}
			if err := g.Create(t.Context(), vars); err != nil {
				t.Fatal(err)
			}
			g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "is-${value}"), "other/b.yaml": configMap("b", "1")})
			g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
				s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "vars"}}}
			})
			r := g.run(1)
			r.readyAll(1, "v1")
			r.settle()
			vars.Data["value"] = "2"
			if err := g.Update(t.Context(), vars); err != nil {
				t.Fatal(err)
			}
			if !disabled {
				g.await("the change is applied", func() string {
					if got := g.value("a"); got != "is-2" {
						return got
					}
					return ""
				})
				return
			}
			g.kustomization("other", func(s *kustomizev1.KustomizationSpec) { s.Path = "./other" })
			r.readyAll(2, "v1")
			if got := g.value("a"); got != "is-1" {
				t.Errorf("a = %s: somebody has told of the change", got)
			}
			for _, e := range testenv.Audit(t) {
				if e.UserAgent == agent+g.ns && (e.Resource == "secrets" || e.Resource == "configmaps") && e.Verb == "watch" && !strings.Contains(e.URI, "toolkit.fluxcd.io") {
					t.Errorf("it asked %s %s", e.Verb, e.URI)
				}
			}
		})
	}
}

// A revision waits for its window, comes back when that opens, and is applied
// once it is open.
func TestWindows(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", nil)
	g.reconcile("app")
	now := time.Now().UTC()
	span := func(from, to time.Duration) string {
		return "Mon-Sun " + now.Add(from).Format("15:04") + "-" + now.Add(to).Format("15:04")
	}
	g.annotate("app", "weir.dev/window", span(30*time.Minute, 50*time.Minute))
	g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "2")})
	k, result := g.reconcile("app")
	g.wantHeld(k, outsideWindow)
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if got := g.value("a"); got != "1" || k.Status.LastAppliedRevision != "v1" {
		t.Errorf("a = %s, revision %s while the window is closed", got, k.Status.LastAppliedRevision)
	}
	if result.RequeueAfter > 30*time.Minute || result.RequeueAfter < 20*time.Minute {
		t.Errorf("it comes back after %s, and the window opens in half an hour", result.RequeueAfter)
	}
	g.annotate("app", "weir.dev/window", span(-time.Hour, time.Hour))
	k, _ = g.reconcile("app")
	g.wantHeld(k, "")
	if got := g.value("a"); got != "2" || k.Status.LastAppliedRevision != "v2" {
		t.Errorf("a = %s, revision %s while the window is open", got, k.Status.LastAppliedRevision)
	}
}
