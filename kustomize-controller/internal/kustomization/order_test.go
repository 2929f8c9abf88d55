package kustomization

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/loop"
)

func TestDeletionOrder(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	make := func(name string, going bool, on ...string) kustomizev1.Kustomization {
		k := kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Finalizers: []string{loop.Finalizer}}}
		if going {
			k.DeletionTimestamp = &now
		}
		for _, d := range on {
			k.Spec.DependsOn = append(k.Spec.DependsOn, kustomizev1.DependencyReference{Name: d})
		}
		return k
	}
	held := make("held", true, "db")
	held.Finalizers = []string{"example.com/other"}
	for name, tt := range map[string]struct {
		all   []kustomizev1.Kustomization
		first string
		n     int
		alive bool
	}{
		"nobody depends on it":   {},
		"one that goes as well":  {all: []kustomizev1.Kustomization{make("app", true, "db")}, first: "ns/app", n: 1},
		"one that stays":         {all: []kustomizev1.Kustomization{make("app", false, "db")}, alive: true},
		"a chain":                {all: []kustomizev1.Kustomization{make("app", true, "db"), make("web", true, "app"), make("docs", true, "other")}, first: "ns/app", n: 2},
		"two":                    {all: []kustomizev1.Kustomization{make("b", true, "db"), make("a", true, "db"), make("c", false, "db")}, first: "ns/a ns/b", n: 2, alive: true},
		"a circle":               {all: []kustomizev1.Kustomization{make("db", true, "web"), make("web", true, "db")}},
		"a circle of others":     {all: []kustomizev1.Kustomization{make("a", true, "db", "b"), make("b", true, "a")}, first: "ns/a", n: 2},
		"one held by a stranger": {all: []kustomizev1.Kustomization{held}},
		"named twice":            {all: []kustomizev1.Kustomization{make("app", true, "db", "db")}, first: "ns/app", n: 1},
	} {
		t.Run(name, func(t *testing.T) {
			db := make("db", true)
			got := deletionOrder(&db, slices.Concat(tt.all, []kustomizev1.Kustomization{db}))
			if strings.Join(got.first, " ") != tt.first || got.all != tt.n || got.alive != tt.alive {
				t.Errorf("order is %+v, want %q of %d, alive %t", got, tt.first, tt.n, tt.alive)
			}
		})
	}
}

// Two that are deleted together go in the reverse order of their dependency,
// whichever the controller comes to first; and neither waits for ever.
func TestDependentsGoFirst(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.o.DeletionGap = patience
	g.restart()
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "db/b.yaml": configMap("b", "1")})
	g.kustomization("db", func(s *kustomizev1.KustomizationSpec) { s.Path = "./db" })
	g.annotate("db", "weir.dev/deletion-order", "dependents-first")
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.DependsOn = []kustomizev1.DependencyReference{{Name: "db"}} })
	g.reconcile("db")
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	g.told()

	remove := func(name string) {
		t.Helper()
		k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.ns}}
		if err := g.Delete(g.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	remove("db")
	if _, result := g.reconcile("db"); result.RequeueAfter > patience || result.RequeueAfter == 0 || g.value("b") != "1" {
		t.Errorf("it waits %s for the other's deletion, b = %s", result.RequeueAfter, g.value("b"))
	}
	remove("app")
	k, _ = g.reconcile("db")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.DependencyNotReadyReason); !strings.Contains(message, g.ns+"/app") || g.value("b") != "1" {
		t.Errorf("Ready says %q, b = %s", message, g.value("b"))
	}
	if k := g.outlast("app"); k != nil || g.value("a") != "(none)" || g.value("b") != "1" {
		t.Errorf("app is there: %t, a = %s, b = %s", k != nil, g.value("a"), g.value("b"))
	}
	if k := g.outlast("db"); k != nil || g.value("b") != "(none)" {
		t.Errorf("db is there: %t, b = %s", k != nil, g.value("b"))
	}
}

// A dependency is not kept for ever by one that cannot be deleted, and not at
// all when the order is not asked for.
func TestDeletionWaitsHaveAnEnd(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.o.DependentsFirst = true
	g.restart()
	r := g.worker
	long := metav1.NewTime(time.Now().Add(-time.Hour))
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "db", DeletionTimestamp: &long}}
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.DependsOn = []kustomizev1.DependencyReference{{Name: "db"}} })
	app := &kustomizev1.Kustomization{}
	if err := g.Get(g.Context(), g.key("app"), app); err != nil {
		t.Fatal(err)
	}
	app.Finalizers = []string{loop.Finalizer}
	if err := g.Update(g.Context(), app); err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(g.Context(), app); err != nil {
		t.Fatal(err)
	}
	if err := r.dependentsFirst(g.Context(), k); err != nil {
		t.Errorf("after an hour it still waits: %v", err)
	}
	if told := strings.Join(g.told(), "\n"); !strings.Contains(told, "goes on") {
		t.Errorf("told: %s", told)
	}
	now := metav1.Now()
	k.DeletionTimestamp = &now
	if err := r.dependentsFirst(g.Context(), k); err == nil {
		t.Error("it does not wait")
	}
	k.Annotations = map[string]string{"weir.dev/deletion-order": "any"}
	if err := r.dependentsFirst(g.Context(), k); err != nil {
		t.Errorf("it waits though it was told not to: %v", err)
	}
	g.edit("app", func(k *kustomizev1.Kustomization) { k.Finalizers = nil })
}
