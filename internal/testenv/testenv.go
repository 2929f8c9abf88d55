// Package testenv gives tests a real API server: `weir-local control-plane` in a child process, started
// by the first test that asks for it, once per test process, and gone when that process is, however it
// ends. The custom resource definitions of config/crd/bases are installed.
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	func TestReconcile(t *testing.T) {
//		c := testenv.Client(t, sourcev1.AddToScheme)
//		ns := testenv.Namespace(t)
//		...
//	}
//
// The program is bin/weir-local below the workspace root; it is built when it is missing or older than
// its source. With WEIR_TEST_KUBECONFIG set to a file, the cluster it names is used instead; tests that
// need the audit log are skipped there.
//
// Deployments, Jobs and the like behave as on a cluster, but their Pods are simulated: see package
// pods below local/. The package works on Unix systems.
package testenv

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/crd"
)

// kubeconfigVariable names the environment variable with the kubeconfig of a cluster to use.
const kubeconfigVariable = "WEIR_TEST_KUBECONFIG"

// startTimeout bounds everything from looking for the program to installed definitions. Building it
// from nothing takes minutes.
const startTimeout = 15 * time.Minute

// Options change what Main does. The zero value is fine.
type Options struct {
	CRDs  []string // directories with further custom resource definitions, relative to the workspace root
	After func()   // called when the tests are over and the API server still runs; may be nil
	// KeepNamespaces leaves the namespaces of tests alone until the API server ends. It works longer
	// on deleting one than most tests take, and for ever when finalizers are left in it. For packages
	// whose tests run no manager that looks at all namespaces.
	KeepNamespaces bool
}

// environment is the one API server of this process.
type environment struct {
	config     *rest.Config
	kubeconfig string
	auditLog   string // "" for a cluster that is not ours
	audit      auditReader
	stop       func()
}

var (
	options Options
	start   = sync.OnceValues(func() (*environment, error) { return startEnvironment(options) })
	started bool
	mu      sync.Mutex // guards started
)

// Main runs the tests of a package, ends the API server if one was started, and exits. A TestMain that
// has nothing else to do calls it; tests work without it too.
func Main(m *testing.M, o ...Options) {
	for _, more := range o {
		options.CRDs = append(options.CRDs, more.CRDs...)
		options.KeepNamespaces = options.KeepNamespaces || more.KeepNamespaces
	}
	waitTogether()
	code := m.Run()
	for _, more := range o {
		if more.After != nil {
			more.After()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if started {
		if env, err := start(); err == nil {
			env.stop()
		}
	}
	os.Exit(code)
}

// together is how many parallel tests run at once. They wait for an API server and
// its watches more than they compute, so the number of processors is too few.
const together = "8"

// waitTogether raises -parallel, unless it was given.
func waitTogether() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", together) // it exists in every test program
	}
}

func env(t testing.TB) *environment {
	t.Helper()
	mu.Lock()
	started = true
	mu.Unlock()
	e, err := start()
	if err != nil {
		t.Fatalf("test environment: %v", err)
	}
	return e
}

func startEnvironment(o Options) (*environment, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	root, err := workspaceRoot()
	if err != nil {
		return nil, err
	}
	e := &environment{kubeconfig: os.Getenv(kubeconfigVariable), stop: func() {}}
	if e.kubeconfig == "" {
		program, err := findProgram(ctx, root)
		if err != nil {
			return nil, err
		}
		if e, err = startProgram(ctx, program); err != nil {
			return nil, err
		}
	}
	if e.config, err = clientcmd.BuildConfigFromFlags("", e.kubeconfig); err != nil {
		e.stop()
		return nil, fmt.Errorf("kubeconfig %q: %w", e.kubeconfig, err)
	}
	e.config.QPS = -1 // tests are not to measure a client's own rate limit
	dirs := []string{filepath.Join(root, crd.Dir)}
	for _, dir := range o.CRDs {
		dirs = append(dirs, filepath.Join(root, dir))
	}
	if _, err := crd.Install(ctx, e.config, dirs...); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// Config returns how to reach the API server as an administrator. The caller may change the copy.
func Config(t testing.TB) *rest.Config {
	t.Helper()
	return rest.CopyConfig(env(t).config)
}

// Kubeconfig returns a file that says the same as Config, for programs under test.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	return env(t).kubeconfig
}

// Client returns a client without a cache that knows the types of client-go and those that addToScheme add.
func Client(t testing.TB, addToScheme ...func(*runtime.Scheme) error) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range append(addToScheme, clientgoscheme.AddToScheme) {
		if err := add(scheme); err != nil {
			t.Fatalf("scheme of the test client: %v", err)
		}
	}
	c, err := client.NewWithWatch(Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatalf("test client: %v", err)
	}
	return c
}

// Namespace creates a namespace for t, waits until Pods can be created in it, and returns its name. It
// is deleted when t ends, without waiting for that, unless Options say otherwise and the cluster is ours.
func Namespace(t testing.TB) string {
	t.Helper()
	c := Client(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(ctx, ns); err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Cleanup(func() {
		if options.KeepNamespaces && env(t).auditLog != "" {
			return
		}
		if err := c.Delete(context.Background(), ns); client.IgnoreNotFound(err) != nil {
			t.Logf("deleting namespace %q: %v", ns.Name, err)
		}
	})
	account := client.ObjectKey{Namespace: ns.Name, Name: "default"}
	for {
		err := c.Get(ctx, account, &corev1.ServiceAccount{})
		if err == nil {
			return ns.Name
		}
		if !apierrors.IsNotFound(err) || ctx.Err() != nil {
			t.Fatalf("service account of namespace %q: %v", ns.Name, errors.Join(err, ctx.Err()))
		}
	}
}
