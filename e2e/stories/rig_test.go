// Package stories tells what users do, on the real programs against a real API
// server, and checks in each story what must be true in all of them.
package stories

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/cluster"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// patience bounds every wait of a story. It says nothing about speed, which is
// the benchmark's business.
const patience = 60 * time.Second

// planted is a password; it must not be seen anywhere.
const planted = "pl4nted-s3cret/of+the=stories"

var addToScheme = []func(*runtime.Scheme) error{
	sourcev1.AddToScheme, kustomizev1.AddToScheme, notificationv1.AddToScheme,
	notificationv1beta3.AddToScheme, imagev1.AddToScheme,
}

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{After: func() {
		if shared.tools != nil {
			if err := shared.tools.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		os.RemoveAll(shared.dir)
	}})
}

// programs are the running controllers: processes of this machine, or pods of a
// cluster.
type programs interface {
	// URL is where a program is reached for a purpose, HTTPClient by what.
	URL(name, purpose string) string
	HTTPClient() *http.Client
	Metrics(ctx context.Context, name string) (map[string]*dto.MetricFamily, error)
	Log(ctx context.Context, name string) (string, error)
	TemporaryFiles(name string) (int, error)
	// Kill ends a program as a power cut does, and waits until it is back.
	Kill(ctx context.Context, name string) error
	Stop() error
}

var (
	_ programs = (*toolkit.Toolkit)(nil)
	_ programs = (*cluster.Programs)(nil)
)

// shared is the toolkit that all stories of a run use.
var shared struct {
	sync.Once
	tools programs
	where *cluster.Cluster // nil where the programs are processes
	dir   string
	err   error
}

// tools returns the running programs.
func tools(t *testing.T) programs {
	t.Helper()
	shared.Do(func() {
		if cluster.Wanted() {
			shared.tools, shared.where, shared.err = installed()
			return
		}
		shared.tools, shared.err = started(t)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.tools
}

// started runs the programs as processes.
func started(t *testing.T) (programs, error) {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return nil, err
	}
	if shared.dir, err = os.MkdirTemp("", "weir-stories-"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return toolkit.Start(ctx, toolkit.Options{BinDir: bin, WorkDir: shared.dir, Kubeconfig: testenv.Kubeconfig(t)})
}

// installed finds the programs in the cluster.
func installed() (programs, *cluster.Cluster, error) {
	where, err := cluster.Open()
	if err != nil {
		return nil, nil, err
	}
	tools, err := where.Programs()
	return tools, where, err
}

// host is the address at which the story's servers are reached by the programs.
func host() string {
	if shared.where != nil {
		return shared.where.Host
	}
	return "127.0.0.1"
}

// story is the stage of one story: a namespace, a Git server and the programs.
type story struct {
	*testing.T
	client.Client
	ns    string
	git   *gitserver.Server
	tools programs
	// deletions the story plans, as "resource/name", besides its namespace.
	plan map[string]bool
}

// begin sets the stage and checks the invariants when the story is over.
func begin(t *testing.T) *story {
	t.Helper()
	programs := tools(t)
	git, err := gitserver.Start(gitserver.Options{Addr: net.JoinHostPort(host(), "0"), Username: "weir", Password: planted})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	s := &story{T: t, Client: testenv.Client(t, addToScheme...), ns: testenv.Namespace(t), git: git,
		tools: programs, plan: map[string]bool{}}
	s.watchInvariants()
	s.create(&corev1.Secret{ObjectMeta: s.meta("git"), StringData: map[string]string{"username": "weir", "password": planted}})
	return s
}

func (s *story) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.ns}
}

func (s *story) create(obj client.Object) {
	s.Helper()
	if err := s.Create(s.Context(), obj); err != nil {
		s.Fatal(err)
	}
}

// eventually waits until check returns "", which is otherwise what is missing.
func (s *story) eventually(what string, check func() string) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			for _, name := range toolkit.All {
				if log, err := s.tools.Log(context.Background(), name); err == nil {
					s.Logf("log of %s:\n%s", name, tail(log, 15))
				}
			}
			s.Fatalf("%s: not after %s: %s", what, patience, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tail returns the last n lines.
func tail(text string, n int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// serve answers the programs' requests with a handler, and returns its address.
func (s *story) serve(handler http.Handler) (address string) {
	s.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host(), "0"))
	if err != nil {
		s.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	server.Start()
	s.Cleanup(server.Close)
	return server.URL
}

// conditioned is what has conditions.
type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
}

// ready waits until obj is ready for its latest spec; obj is left as read last.
func (s *story) ready(obj conditioned) {
	s.Helper()
	s.eventually(fmt.Sprintf("%T %s is ready", obj, obj.GetName()), func() string {
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != obj.GetGeneration() {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
}

// failed waits until obj is not ready for the given reason, and returns what
// it says.
func (s *story) failed(obj conditioned, reason string) string {
	s.Helper()
	var message string
	s.eventually(fmt.Sprintf("%T %s fails with %s", obj, obj.GetName(), reason), func() string {
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
			return fmt.Sprintf("%+v", c)
		}
		message = c.Message
		return ""
	})
	return message
}

// commit changes files of the story's repository on branch main.
func (s *story) commit(message string, files map[string]string, remove ...string) string {
	s.Helper()
	hash, err := s.git.Commit("app", "main", message, files, remove...)
	if err != nil {
		s.Fatal(err)
	}
	return hash
}

// repository makes the Git repository with these files and its GitRepository.
func (s *story) repository(interval time.Duration, files map[string]string) *sourcev1.GitRepository {
	s.Helper()
	if err := s.git.Init("app", files); err != nil {
		s.Fatal(err)
	}
	repo := &sourcev1.GitRepository{ObjectMeta: s.meta("app"), Spec: sourcev1.GitRepositorySpec{
		URL: s.git.URL("app"), Interval: duration.New(interval), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		SecretRef: &meta.LocalObjectReference{Name: "git"},
	}}
	s.create(repo)
	return repo
}

// kustomization applies the repository's folder ./app into the namespace.
func (s *story) kustomization(interval time.Duration, change func(*kustomizev1.KustomizationSpec)) *kustomizev1.Kustomization {
	s.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: s.meta("app"), Spec: kustomizev1.KustomizationSpec{
		Interval: duration.New(interval), Prune: true, Path: "./app", TargetNamespace: s.ns,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
	}}
	if change != nil {
		change(&k.Spec)
	}
	s.create(k)
	return k
}

// configMap is a manifest.
func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
}

// value waits until a ConfigMap has a value.
func (s *story) value(name, want string) {
	s.Helper()
	s.eventually(fmt.Sprintf("ConfigMap %s has the value %q", name, want), func() string {
		cm := &corev1.ConfigMap{}
		if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.ns, Name: name}, cm); err != nil {
			return err.Error()
		}
		if cm.Data["value"] != want {
			return fmt.Sprintf("it has %q", cm.Data["value"])
		}
		return ""
	})
}
