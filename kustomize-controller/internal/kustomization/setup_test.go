package kustomization

import (
	"context"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

func TestConfigKeys(t *testing.T) {
	t.Parallel()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: kustomizev1.KustomizationSpec{
		PostBuild:  &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "a"}, {Kind: "Secret", Name: "b"}}},
		Decryption: &kustomizev1.Decryption{SecretRef: &meta.LocalObjectReference{Name: "c"}},
		KubeConfig: &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "d"}, ConfigMapRef: &meta.LocalObjectReference{Name: "e"}},
	}}
	want := []string{"ConfigMap/ns/a", "Secret/ns/b", "Secret/ns/c", "Secret/ns/d", "ConfigMap/ns/e"}
	if diff := cmp.Diff(want, configKeys(k)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if got := configKeys(&kustomizev1.Kustomization{}); got != nil {
		t.Errorf("keys of nothing are %v", got)
	}
}

// follow waits until the ConfigMap has a value.
func (g *rig) follow(w client.WithWatch, name, value string) {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), patience)
	defer cancel()
	events, err := w.Watch(ctx, &corev1.ConfigMapList{}, client.InNamespace(g.ns))
	if err != nil {
		g.Fatal(err)
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		if cm, ok := e.Object.(*corev1.ConfigMap); ok && cm.Name == name && cm.Data["value"] == value {
			return
		}
	}
	g.Fatalf("%s never became %q; it is %q", name, value, g.value(name))
}

// A labelled Secret, and a new artifact, reach the cluster without an interval.
func TestWhatIsReadIsWatched(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	watched, err := labels.Parse("reconcile.fluxcd.io/watch=Enabled")
	if err != nil {
		t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{
		Scheme: g.Scheme(), Metrics: server.Options{BindAddress: "0"},
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{g.ns: {}},
			ByObject:          map[client.Object]cache.ByObject{&corev1.Secret{}: {Label: watched}, &corev1.ConfigMap{}: {Label: watched}},
		},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.o.Client, g.o.Live, g.o.WatchConfigs = mgr.GetClient(), mgr.GetAPIReader(), true
	var bell loop.Bell
	env := &process.Env{Name: "kustomize-controller", FieldOwner: "gotk-kustomize-controller", Manager: mgr, Recorder: g.recorder, Concurrent: 1}
	if err := New(g.o).Setup(t.Context(), env, &bell); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "vars", Namespace: g.ns, Labels: map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}},
		StringData: map[string]string{"value": "first-value"}}
	if err := g.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "${value}")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: "vars"}}}
	})
	w := testenv.Client(t, kustomizev1.AddToScheme, sourcev1.AddToScheme)
	g.follow(w, "a", "first-value")
	secret.StringData = map[string]string{"value": "second-value"}

	if err := g.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	g.follow(w, "a", "second-value")
	g.annotate("app", "weir.dev/approve", "v1")
	g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "third-value")})
	g.annotate("app", "weir.dev/approve", "v2") // is heeded at once
	g.follow(w, "a", "third-value")

}

// Without the right to list them, Secrets are not watched, and nothing stops.
func TestConfigsThatMayNotBeListed(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	cfg := testenv.Config(t)
	cfg.Impersonate.UserName = "nobody"
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{Scheme: g.Scheme(), Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told := funcr.New(func(_, args string) {
		if strings.Contains(args, "forbidden") {
			stop() // it has said why, and waits now
		}
	}, funcr.Options{})
	watch := g.worker.watchConfigs(&process.Env{Manager: mgr, Log: told}, nil, "Secret") // it would panic without a controller
	if err := watch(ctx); err != nil {
		t.Error(err)
	}
}
