// Package controlplane runs a Kubernetes control plane inside the process: etcd on a unix socket,
// kube-apiserver on a port of 127.0.0.1, and the controllers of kube-controller-manager that make
// workloads move. There is no scheduler and no kubelet; package pods stands in for them.
//
// The pieces keep global state (feature gates, metrics, loggers), so a process can start one control
// plane only, once.
package controlplane

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/weirhq/weir/local/internal/pods"
)

// Users of the control plane. All but Admin are parts of the control plane itself, so that an audit
// log can tell what a test has asked from what went on besides.
const (
	Admin      = "weir:admin"
	Controller = "system:kube-controller-manager"
	Simulator  = "weir:pod-simulator"
)

// Bounds of starting and stopping. Starting takes two to three seconds on two cores; the bound is for
// machines that do something else meanwhile.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 10 * time.Second
)

// Options say where a control plane lives and what runs in it.
type Options struct {
	Dir      string // data, certificates, logs and the kubeconfig; created when missing
	Port     int    // of the API server on 127.0.0.1; 0 takes a free one
	AuditLog string // file for one JSON line per request, level Metadata; "" writes none
	Pods     bool   // simulate Pods, volume claims and load balancers
}

// ControlPlane is a control plane that answers.
type ControlPlane struct {
	Kubeconfig string // file for Admin, who is in system:masters
	URL        string // https://127.0.0.1:<port>
	Version    string // of the API server, such as v1.36.3
	Log        string // file that every part logs to

	failed      chan error
	parts       sync.WaitGroup // controllers and the pod simulator
	stopParts   context.CancelFunc
	stopServer  context.CancelFunc
	serverEnded chan struct{}
	store       *store
	log         io.Closer
}

// Start brings a control plane up and returns when /readyz is fine and the default namespace has its
// service account. When ctx ends before that, what was started is stopped again. Afterwards only Stop
// ends it.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the control plane: %w", err)
	}
	cp := &ControlPlane{
		Kubeconfig: filepath.Join(o.Dir, "kubeconfig"),
		Log:        filepath.Join(o.Dir, "control-plane.log"),
		failed:     make(chan error, 8),
	}
	log, err := os.OpenFile(cp.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of the control plane: %w", err)
	}
	cp.log = log
	if err := logTo(log); err != nil {
		return nil, errors.Join(err, log.Close())
	}

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := cp.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; see %s", err, cp.Log), cp.Stop())
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context, o Options) error {
	creds, err := newCredentials(o.Dir)
	if err != nil {
		return err
	}
	if cp.store, err = startStore(ctx, filepath.Join(o.Dir, "etcd"), cp.Log); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)))
	if err != nil {
		return fmt.Errorf("port of the API server: %w", err)
	}
	cp.URL = "https://" + listener.Addr().String()
	if err := creds.writeKubeconfig(cp.Kubeconfig, cp.URL, Admin); err != nil {
		return err
	}
	if err := cp.startServer(listener, creds, o); err != nil {
		return err
	}
	admin := creds.config(cp.URL, Admin)
	if err := cp.waitServer(ctx, admin); err != nil {
		return err
	}
	if err := cp.startParts(creds, o); err != nil {
		return err
	}
	return cp.waitDefaults(ctx, admin)
}

// startParts starts what talks to the API server: the controllers and the pod simulator.
func (cp *ControlPlane) startParts(creds *credentials, o Options) error {
	ctx, stop := context.WithCancel(context.Background())
	cp.stopParts = stop
	kubeconfig := filepath.Join(o.Dir, "controllers.kubeconfig")
	if err := creds.writeKubeconfig(kubeconfig, cp.URL, Controller); err != nil {
		return err
	}
	run, err := controllers(ctx, kubeconfig, creds)
	if err != nil {
		return err
	}
	cp.part(ctx, "controllers", run)
	if o.Pods {
		cp.part(ctx, "pod simulator", func(ctx context.Context) error {
			return pods.Run(ctx, creds.config(cp.URL, Simulator), pods.Options{})
		})
	}
	return nil
}

// part runs fn until ctx ends; when it ends before, the control plane has failed.
func (cp *ControlPlane) part(ctx context.Context, name string, fn func(context.Context) error) {
	cp.parts.Go(func() {
		err := fn(ctx)
		if ctx.Err() == nil {
			cp.failed <- fmt.Errorf("%s ended: %w", name, errors.Join(err, errEnded))
		}
	})
}

var errEnded = errors.New("it must run as long as the control plane")

// Failed tells why a part of the control plane ended that should not have.
func (cp *ControlPlane) Failed() <-chan error { return cp.failed }

// Stop ends everything in the one order that works: first those who talk to the API server, then the
// API server, then etcd, without which the API server would wait for it forever. A part that does not
// end within ten seconds is left behind; the process is about to exit.
func (cp *ControlPlane) Stop() error {
	var errs []error
	if cp.stopParts != nil {
		cp.stopParts()
		ended := make(chan struct{})
		go func() { cp.parts.Wait(); close(ended) }()
		errs = append(errs, waitFor("controllers", ended))
	}
	if cp.stopServer != nil {
		cp.stopServer()
		errs = append(errs, waitFor("the API server", cp.serverEnded))
	}
	if cp.store != nil {
		cp.store.close()
	}
	klog.Flush()
	klog.SetOutput(io.Discard)
	return errors.Join(append(errs, cp.log.Close())...)
}

func waitFor(what string, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("%s did not end within %s", what, stopTimeout)
	}
}

// poll asks check every 20 ms until it says true, a part fails or ctx ends.
func (cp *ControlPlane) poll(ctx context.Context, what string, check func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := check()
		if ok {
			return nil
		}
		select {
		case failed := <-cp.failed:
			return failed
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func (cp *ControlPlane) waitServer(ctx context.Context, admin *rest.Config) error {
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return fmt.Errorf("client of the API server: %w", err)
	}
	err = cp.poll(ctx, "the API server", func() (bool, error) {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("version of the API server: %w", err)
	}
	cp.Version = version.GitVersion
	return nil
}

// waitDefaults waits until a Pod could be created in the default namespace.
func (cp *ControlPlane) waitDefaults(ctx context.Context, admin *rest.Config) error {
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return fmt.Errorf("client of the API server: %w", err)
	}
	return cp.poll(ctx, "the service account of the default namespace", func() (bool, error) {
		if _, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return false, err
		}
		_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil, err
	})
}

// logTo sends everything that the parts log to w, and nothing to standard error.
func logTo(w io.Writer) error {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("log of the control plane: %w", err)
		}
	}
	klog.SetOutput(w)
	return nil
}

// randomToken returns 128 bits in hexadecimal.
func randomToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
