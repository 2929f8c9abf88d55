package kustomization

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// binDir is where testenv has put weir-local.
var binDir = filepath.Join("..", "..", "..", "bin")

// another is a namespace of a second control plane, reached through a line that can be cut.
type another struct {
	client.Client
	ns         string
	line       *line
	kubeconfig []byte
}

// stopFar ends the second control plane, which all tests share; they have a namespace each.
var stopFar = func() {}

var startFar = sync.OnceValues(func() (*toolkit.ControlPlane, error) {
	dir, err := os.MkdirTemp("", "weir-far-")
	if err != nil {
		return nil, err
	}
	far, err := toolkit.StartControlPlane(context.Background(), toolkit.ControlPlaneOptions{Program: filepath.Join(binDir, "weir-local"), Dir: dir})
	stopFar = func() {
		if far != nil {
			_ = far.Stop()
		}
		_ = os.RemoveAll(dir)
	}
	return far, err
})

func startAnother(g *rig) *another {
	g.Helper()
	far, err := startFar()
	if err != nil {
		g.Fatal(err)
	}
	kubeconfig, err := os.ReadFile(far.Kubeconfig)
	if err != nil {
		g.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		g.Fatal(err)
	}
	a := &another{ns: g.ns, line: newLine(g, strings.TrimPrefix(far.URL, "https://"))}
	a.kubeconfig = bytes.ReplaceAll(kubeconfig, []byte(far.URL), []byte("https://"+a.line.Addr().String()))
	if a.Client, err = client.New(cfg, client.Options{}); err != nil {
		g.Fatal(err)
	}
	if err := a.Create(g.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.ns}}); err != nil {
		g.Fatal(err)
	}
	return a
}

// line passes connections on to an address while it is up.
type line struct {
	net.Listener
	mu   sync.Mutex
	down bool
	open []net.Conn
}

func newLine(g *rig, to string) *line {
	g.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.Fatal(err)
	}
	l := &line{Listener: listener}
	g.Cleanup(func() { listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			l.mu.Lock()
			if err != nil || l.down {
				in.Close()
				if err == nil {
					out.Close()
				}
			} else {
				l.open = append(l.open, in, out)
				go func() { _, _ = io.Copy(in, out); in.Close() }()
				go func() { _, _ = io.Copy(out, in); out.Close() }()
			}
			l.mu.Unlock()
		}
	}()
	return l
}

func (l *line) set(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = !up
	for _, c := range l.open {
		c.Close()
	}
	l.open = nil
}

func (a *another) value(g *rig, name string) string {
	g.Helper()
	cm := &corev1.ConfigMap{}
	err := a.Get(g.Context(), client.ObjectKey{Namespace: a.ns, Name: name}, cm)
	if apierrors.IsNotFound(err) {
		return "(none)"
	}
	if err != nil {
		g.Fatal(err)
	}
	return cm.Data["value"]
}

func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	far := startAnother(g)
	g.setSecret("far", map[string][]byte{"value": far.kubeconfig})
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1"), "app/b.yaml": configMap("b", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.TargetNamespace, s.Wait = far.ns, true
		s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "far"}}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if far.value(g, "a") != "1" || g.value("a") != "(none)" {
		t.Fatalf("a = %s there, %s here", far.value(g, "a"), g.value("a"))
	}

	edit := func(name, value string) {
		t.Helper()
		cm := &corev1.ConfigMap{}
		if err := far.Get(g.Context(), client.ObjectKey{Namespace: far.ns, Name: name}, cm); err != nil {
			t.Fatal(err)
		}
		cm.Data["value"] = value
		if err := far.Update(g.Context(), cm); err != nil {
			t.Fatal(err)
		}
	}
	edit("a", "by hand")
	g.awaitBell("app") // the watch sees drift there, too
	g.reconcile("app")
	if got := far.value(g, "a"); got != "1" {
		t.Errorf("a = %s after it was corrected", got)
	}

	far.line.set(false)
	edit("b", "while nobody could see")
	g.publish("v2", map[string]string{"app/a.yaml": configMap("a", "2"), "app/b.yaml": configMap("b", "1")})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
	if len(k.Status.Inventory.Entries) != 2 {
		t.Errorf("inventory = %+v while the cluster is away", k.Status.Inventory.Entries)
	}
	far.line.set(true)
	g.awaitBell("app") // for what changed meanwhile
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if far.value(g, "a") != "2" || far.value(g, "b") != "1" {
		t.Errorf("a = %s, b = %s after it came back", far.value(g, "a"), far.value(g, "b"))
	}

	if err := g.Delete(g.Context(), k); err != nil {
		t.Fatal(err)
	}
	g.reconcile("app")
	if got := far.value(g, "a"); got != "(none)" {
		t.Errorf("a = %s after the Kustomization was deleted", got)
	}
}

func TestKubeconfigsAreExplained(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		data map[string][]byte
		says string
	}{
		"no secret": {nil, "not found"},
		"no key":    {map[string][]byte{"other": []byte("x")}, `"value"`},
		"exec":      {map[string][]byte{"value": []byte("apiVersion: v1\nkind: Config\nusers: [{name: u, user: {exec: {command: sh}}}]\n")}, "exec is not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			if tt.data != nil {
				g.setSecret("far", tt.data)
			}
			g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
			g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
				s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "far"}}
			})
			k, _ := g.reconcile("app")
			if message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason); !strings.Contains(message, tt.says) {
				t.Errorf("Ready says %q, want %q", message, tt.says)
			}
			if g.value("a") != "(none)" {
				t.Error("it was applied here instead")
			}
		})
	}
}

// A kubeconfig that is gone takes the way to the objects with it; they stay.
func TestDeletionWithoutKubeconfig(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "gone"}}
	})
	k, _ := g.reconcile("app")
	k.Status.Inventory = &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{{ID: "default_a__ConfigMap", Version: "v1"}}}
	if err := g.Status().Update(g.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(g.Context(), k); err != nil {
		t.Fatal(err)
	}
	g.reconcile("app")
	if err := g.Get(g.Context(), g.key("app"), k); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
	if told := strings.Join(g.told(), "\n"); !strings.Contains(told, `"gone" does not exist any more: 1 objects were left`) {
		t.Errorf("events are\n%s", told)
	}
}

func TestClusterByAddress(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.o.WorkloadIdentity = true
	g.restart()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer", Namespace: g.ns}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "deployer-" + g.ns},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: g.ns, Name: account.Name}}}
	for _, obj := range []client.Object{account, binding} {
		if err := g.Create(g.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	request := &authenticationv1.TokenRequest{} // its answer tells the audiences of this API server
	if err := g.SubResource("token").Create(g.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	cfg := testenv.Config(t)
	if err := g.Create(g.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "far", Namespace: g.ns}, Data: map[string]string{
		"provider": "generic", "address": cfg.Host, "ca.crt": string(cfg.CAData), "serviceAccountName": account.Name,
		"audiences": strings.Join(request.Spec.Audiences, "\n"),
	}}); err != nil {
		t.Fatal(err)
	}
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "far"}}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if got := g.value("a"); got != "1" {
		t.Errorf("a = %s", got)
	}
	g.o.WorkloadIdentity = false
	g.restart()
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.FeatureGateDisabledReason)
}
