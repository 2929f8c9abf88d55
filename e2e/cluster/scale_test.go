package cluster

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// scaleObjects is how many ConfigMaps each Kustomization has.
const scaleObjects = 10

// TestScale installs as many Kustomizations as E2E_SCALE says, and tells how long
// they take and what the pods hold then, as the kubelet counts it.
func TestScale(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("E2E_SCALE"))
	if n == 0 {
		t.Skip("E2E_SCALE, the number of Kustomizations, is not set")
	}
	c := open(t)
	ctx := t.Context()
	if err := c.LoadControllers(ctx); err != nil {
		t.Fatal(err)
	}
	objects, err := c.Install(patient(t), "default", options(t, c))
	if err != nil {
		t.Fatal(err)
	}
	c.tellMemory(t)

	git, err := gitserver.Start(gitserver.Options{Addr: net.JoinHostPort(c.Host, "0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	files := map[string]string{}
	for i := range n {
		for j := range scaleObjects {
			files[fmt.Sprintf("app-%d/cm-%d.yaml", i, j)] = fmt.Sprintf(
				"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%d-%d\ndata:\n  key: value of %d in %d\n", i, j, j, i)
		}
	}
	if err := git.Init("scale", files); err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{}
	ns.Name = "weir-e2e-scale"
	repo := &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{
		URL: git.URL("scale"), Interval: duration.New(time.Minute), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
	}}
	repo.Name, repo.Namespace = "scale", ns.Name
	for _, obj := range []client.Object{ns, repo} {
		if err := c.Create(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	c.ready(t, repo)
	began := time.Now()
	for i := range n {
		k := &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
			Interval: duration.New(10 * time.Minute), Prune: true, TargetNamespace: ns.Name, Path: fmt.Sprintf("./app-%d", i),
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: repo.Name},
		}}
		k.Name, k.Namespace = fmt.Sprintf("app-%d", i), ns.Name
		if err := c.Create(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	c.allReady(t, ns.Name, n)
	t.Logf("%d Kustomizations of %d objects are ready %s after the first was made", n, scaleObjects, time.Since(began).Round(time.Second))
	c.tellMemory(t)
	t.Log("two minutes later:")
	time.Sleep(2 * time.Minute)
	c.tellMemory(t)

	if err := c.DeleteAllOf(ctx, &kustomizev1.Kustomization{}, client.InNamespace(ns.Name)); err != nil {
		t.Fatal(err)
	}
	c.allReady(t, ns.Name, 0)
	for _, obj := range []client.Object{repo, ns} {
		if err := c.Delete(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Remove(patient(t), objects); err != nil {
		t.Fatal(err)
	}
}

// allReady waits until a namespace has n Kustomizations and all are ready.
func (c *Cluster) allReady(t *testing.T, namespace string, n int) {
	t.Helper()
	last, since := -1, time.Now()
	for ; ; time.Sleep(time.Second) {
		var list kustomizev1.KustomizationList
		if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		done := 0
		for _, k := range list.Items {
			if apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) {
				done++
			}
		}
		if len(list.Items) == n && done == n {
			return
		}
		if state := len(list.Items) - done; state != last {
			last, since = state, time.Now()
		}
		if time.Since(since) > patience {
			t.Fatalf("%d Kustomizations, %d of them ready, want %d; nothing has moved for %s", len(list.Items), done, n, patience)
		}
	}
}
