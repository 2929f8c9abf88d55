package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/cluster"
	"github.com/weirhq/weir/internal/crd"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/toolkit"
)

// Each controller serves its kinds on a cluster that has no others.
func TestEachControllerAlone(t *testing.T) {
	if cluster.Wanted() {
		t.Skip("each controller alone on a cluster is a test of e2e/cluster")
	}
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	git, err := gitserver.Start(gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	if err := git.Init("app", map[string]string{"a.yaml": configMap("a", "one")}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		program string
		group   string // whose definitions are there
		secret  map[string]string
		obj     conditioned
		ready   bool   // else it must say why not
		says    string // in that case
	}{
		{
			program: toolkit.Source, group: "source.", ready: true,
			obj: &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{
				URL: git.URL("app"), Interval: duration.New(never), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
			}},
		},
		{
			program: toolkit.Kustomize, group: "kustomize.", says: "GitRepository is not served by this cluster",
			obj: &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
				Interval:  duration.New(never),
				SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
			}},
		},
		{
			program: toolkit.Notification, group: "notification.", ready: true, secret: map[string]string{"token": planted},
			obj: &notificationv1.Receiver{Spec: notificationv1.ReceiverSpec{
				Type: "generic", SecretRef: &meta.LocalObjectReference{Name: "secret"},
				Resources: []notificationv1.ReceiverResource{{CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{
					Kind: sourcev1.GitRepositoryKind, Name: "app",
				}}},
			}},
		},
		{
			program: toolkit.ImageAutomation, group: "image.", says: "org/app",
			obj: &imagev1.ImageRepository{Spec: imagev1.ImageRepositorySpec{
				Image: strings.TrimPrefix(reg.URL, "http://") + "/org/app", Interval: duration.New(never), Insecure: true,
			}},
		},
	} {
		t.Run(tt.program, func(t *testing.T) {
			kubeconfig, audit, c := bareCluster(t, tt.group)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			tools, err := toolkit.Start(ctx, toolkit.Options{
				BinDir: bin(t), WorkDir: t.TempDir(), Kubeconfig: kubeconfig, Programs: []string{tt.program},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := tools.Stop(); err != nil {
					t.Error(err)
				}
			})
			fresh := tt.obj.DeepCopyObject().(conditioned)
			fresh.SetName("again")
			fresh.SetNamespace("default")
			defer func() { aloneInvariants(t, c, tools, tt.program, tt.obj, fresh, audit) }()
			if tt.secret != nil {
				secret := &corev1.Secret{StringData: tt.secret}
				secret.Name, secret.Namespace = "secret", "default"
				if err := c.Create(ctx, secret); err != nil {
					t.Fatal(err)
				}
			}
			tt.obj.SetName("alone")
			tt.obj.SetNamespace("default")
			if err := c.Create(ctx, tt.obj); err != nil {
				t.Fatal(err)
			}
			s := &story{T: t, Client: c, ns: "default", tools: tools}
			if tt.ready {
				s.ready(tt.obj)
				return
			}
			s.eventually("the object says what is missing", func() string {
				if err := c.Get(ctx, client.ObjectKeyFromObject(tt.obj), tt.obj); err != nil {
					return err.Error()
				}
				for _, condition := range tt.obj.GetConditions() {
					if condition.Type == meta.ReadyCondition && condition.Status == "False" && strings.Contains(condition.Message, tt.says) {
						return ""
					}
				}
				return "the conditions are " + texts(tt.obj)
			})
		})
	}
}

func texts(obj conditioned) string {
	data, err := json.Marshal(obj.GetConditions())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func bin(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// bareCluster is a control plane with the definitions of one API group.
func bareCluster(t *testing.T, group string) (kubeconfig, audit string, c client.Client) {
	t.Helper()
	starting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	audit = filepath.Join(t.TempDir(), "audit.log")
	plane, err := toolkit.StartControlPlane(starting, toolkit.ControlPlaneOptions{
		Program: filepath.Join(bin(t), "weir-local"), Dir: t.TempDir(), Flags: []string{"--audit-log", audit},
	})
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	cfg, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range append(addToScheme, clientgoscheme.AddToScheme) {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("../../config/crd/bases/" + group + "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions of group %q: %v", group, err)
	}
	definitions := t.TempDir()
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(definitions, filepath.Base(file)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := crd.Install(starting, cfg, definitions); err != nil {
		t.Fatal(err)
	}
	if c, err = client.New(cfg, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	return plane.Kubeconfig, audit, c
}

// holds reads what a program holds: open files and goroutines.
func holds(t *testing.T, tools *toolkit.Toolkit, program string) usage {
	t.Helper()
	out := usage{}
	for _, metric := range []string{"process_open_fds", "go_goroutines"} {
		v, err := tools.Gauge(context.Background(), program, metric)
		if err != nil {
			t.Errorf("I5: %v", err)
		}
		out[metric] = v
	}
	return out
}

// aloneInvariants are those that mean something where there is one program, one
// object and nothing that was applied: nothing is deleted (I1), the secret is
// nowhere (I3), and what an object costs is given back with it (I5).
func aloneInvariants(t *testing.T, c client.Client, tools *toolkit.Toolkit, program string, obj, fresh conditioned, audit string) {
	t.Helper()
	ctx := context.Background()
	s := &story{T: t, Client: c, ns: "default", tools: tools}
	s.remove(ctx, obj)
	var before usage
	for i := range 4 {
		again := fresh.DeepCopyObject().(conditioned)
		if err := c.Create(ctx, again); err != nil {
			t.Fatal(err)
		}
		s.eventually("the object is worked on", func() string {
			if err := c.Get(ctx, client.ObjectKeyFromObject(again), again); err != nil {
				return err.Error()
			}
			if len(again.GetConditions()) == 0 {
				return "it has no conditions"
			}
			return ""
		})
		s.remove(ctx, again)
		if i == 0 { // all workers have started by now
			before = holds(t, tools, program)
		}
	}
	s.eventually("open files and goroutines are given back", func() string {
		for metric, now := range holds(t, tools, program) {
			if now > before[metric]+slack {
				return fmt.Sprintf("I5: %s is %.0f, was %.0f", metric, now, before[metric])
			}
		}
		return ""
	})
	lines, err := os.ReadFile(audit)
	if err != nil || len(lines) == 0 {
		t.Fatalf("I1: no audit log: %v", err)
	}
	for line := range strings.Lines(string(lines)) {
		var e struct{ Verb, UserAgent, RequestURI string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			continue // the last line may not be whole yet
		}
		if strings.HasPrefix(e.Verb, "delete") && strings.HasPrefix(e.UserAgent, program+"/") {
			t.Errorf("I1: %s deleted %s", program, e.RequestURI)
		}
	}
	log, err := os.ReadFile(tools.Process(program).Log)
	if err != nil {
		t.Errorf("I3: %v", err)
	}
	if strings.Contains(string(log)+texts(obj), planted) {
		t.Errorf("I3: the planted secret is in the log or the conditions")
	}
}

// remove deletes an object and waits until it is gone.
func (s *story) remove(ctx context.Context, obj client.Object) {
	s.Helper()
	if err := s.Delete(ctx, obj); err != nil {
		s.Fatal(err)
	}
	s.eventually("the object goes away", func() string {
		if err := s.Get(ctx, client.ObjectKeyFromObject(obj), obj); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Sprintf("reading it: %v", err)
		}
		return ""
	})
}
