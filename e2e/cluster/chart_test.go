package cluster

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/chart"
	"github.com/weirhq/weir/e2e/manifests"
)

// helm is Helm with the chart of the images that make images has built.
type helm struct {
	*Cluster
	t     *testing.T
	cfg   *action.Configuration
	chart any // as the loader returns it, and actions take it
}

type values = map[string]any

func newHelm(t *testing.T, c *Cluster) *helm {
	t.Helper()
	version, err := c.Version()
	if err != nil {
		t.Fatal(err)
	}
	files, err := chart.Build("../../charts/weir", "../../config", version)
	if err != nil {
		t.Fatal(err)
	}
	data, err := files.Archive(time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	h := &helm{Cluster: c, t: t, cfg: action.NewConfiguration()}
	if h.chart, err = loader.LoadArchive(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	kubeconfig, ns, cache := os.Getenv("KUBECONFIG"), Namespace, t.TempDir()
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace, flags.CacheDir = &kubeconfig, &ns, &cache
	flags.WithWrapConfigFn(func(c *rest.Config) *rest.Config {
		c.QPS = -1
		return c
	})
	if err := h.cfg.Init(flags, ns, "secret"); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *helm) install(v values) {
	h.t.Helper()
	a := action.NewInstall(h.cfg)
	a.ReleaseName, a.Namespace, a.CreateNamespace = chart.Name, Namespace, true
	a.WaitStrategy, a.Timeout = kube.StatusWatcherStrategy, patience
	if _, err := a.RunWithContext(patient(h.t), h.chart, v); err != nil {
		h.t.Fatal(err)
	}
}

func (h *helm) upgrade(v values) {
	h.t.Helper()
	a := action.NewUpgrade(h.cfg)
	a.ServerSideApply, a.Namespace = "true", Namespace
	a.WaitStrategy, a.Timeout = kube.StatusWatcherStrategy, patience
	if _, err := a.RunWithContext(patient(h.t), chart.Name, h.chart, v); err != nil {
		h.t.Fatal(err)
	}
}

func (h *helm) rollback(revision int) {
	h.t.Helper()
	a := action.NewRollback(h.cfg)
	a.Version, a.WaitStrategy, a.Timeout = revision, kube.StatusWatcherStrategy, patience
	if err := a.Run(chart.Name); err != nil {
		h.t.Fatal(err)
	}
}

func (h *helm) uninstall() {
	h.t.Helper()
	a := action.NewUninstall(h.cfg)
	a.WaitStrategy, a.Timeout = kube.StatusWatcherStrategy, patience
	if _, err := a.Run(chart.Name); err != nil {
		h.t.Fatal(err)
	}
}

// runs checks which controllers have a pod that is ready. Helm has waited.
func (h *helm) runs(names ...string) {
	h.t.Helper()
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	for _, name := range manifests.Controllers {
		d := &appsv1.Deployment{}
		err := h.Get(h.t.Context(), client.ObjectKey{Namespace: Namespace, Name: name}, d)
		if client.IgnoreNotFound(err) != nil {
			h.t.Fatal(err)
		}
		if there := err == nil && d.Status.AvailableReplicas == 1; there != want[name] {
			h.t.Errorf("%s is available: %v, want %v", name, there, want[name])
		}
	}
}

// Helm installs the chart as pods, changes and rolls it back while a workload
// is kept as it is, and removes it; what was applied stays where it is.
func TestChart(t *testing.T) {
	c := open(t)
	ctx := patient(t)
	if err := c.LoadControllers(ctx); err != nil {
		t.Fatal(err)
	}
	h := newHelm(t, c)
	h.install(nil)
	h.runs(manifests.Controllers...)
	w := c.applies(t, "chart")
	before := c.uids(t, w)

	h.upgrade(values{
		"imageAutomationController": values{"enabled": false},
		"kustomizeController":       values{"args": []any{"--concurrent=8"}},
		"components":                []any{"high-availability"},
	})
	for _, name := range []string{"source-controller", "kustomize-controller", "notification-controller"} {
		if err := c.Available(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	c.commit(t, w, "upgraded")
	h.rollback(1)
	h.runs(manifests.Controllers...)
	c.commit(t, w, "rolled-back")
	if after := c.uids(t, w); after != before {
		t.Errorf("the objects were made anew: %s, was %s", after, before)
	}

	h.uninstall()
	eventually(t, "the pods are gone", func() string {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(Namespace)); err != nil {
			return err.Error()
		}
		if len(pods.Items) > 0 {
			return pods.Items[0].Name + " is there"
		}
		return ""
	})
	c.ready(t, w.k) // the definitions and the objects of their kinds stay, and say what they said
	if after := c.uids(t, w); after != before {
		t.Errorf("the objects were made anew: %s, was %s", after, before)
	}

	h.install(nil) // what lets the finalizers go
	repo := &sourcev1.GitRepository{}
	repo.Name, repo.Namespace = w.k.Spec.SourceRef.Name, w.ns
	for _, obj := range []client.Object{w.k, repo} {
		if err := c.Delete(ctx, obj); err != nil {
			t.Fatal(err)
		}
		eventually(t, obj.GetName()+" is gone", func() string {
			if err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj); !apierrors.IsNotFound(err) {
				return fmt.Sprintf("%T is there still (%v)", obj, err)
			}
			return ""
		})
	}
	h.upgrade(values{"crds": values{"keep": false}})
	h.uninstall()
	h.nothingIsLeft()
}

// nothingIsLeft removes the namespace, which Helm leaves, as a user does, and
// checks that it and the definitions are gone.
func (h *helm) nothingIsLeft() {
	h.t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = Namespace
	if err := h.Delete(h.t.Context(), ns); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "nothing is left", func() string {
		if err := h.Get(h.t.Context(), client.ObjectKeyFromObject(ns), &corev1.Namespace{}); !apierrors.IsNotFound(err) {
			return "the namespace is there"
		}
		var all apiextensionsv1.CustomResourceDefinitionList
		if err := h.List(h.t.Context(), &all, client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}); err != nil {
			return err.Error()
		}
		if len(all.Items) > 0 {
			return all.Items[0].Name + " is there"
		}
		return ""
	})
}
