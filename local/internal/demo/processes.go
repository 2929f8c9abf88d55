package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/crd"
	"github.com/weirhq/weir/local/internal/child"
)

// The controllers, in the order in which they are started.
const (
	sourceController       = "source-controller"
	kustomizeController    = "kustomize-controller"
	notificationController = "notification-controller"
	imageController        = "image-automation-controller"
)

var controllerNames = []string{notificationController, sourceController, kustomizeController, imageController}

// addresses are where controllers listen for each other and for webhooks, as host:port.
type addresses struct{ events, receiver, storage string }

// startControlPlane runs this program's control-plane command in a process of its own: Kubernetes keeps
// state per process and ends processes as it sees fit.
func (d *demo) startControlPlane(ctx context.Context) (string, error) {
	out, in := io.Pipe()
	defer out.Close()
	var err error
	d.controlPlane, err = child.Start(child.Options{
		Name: "control-plane", Path: d.Program, Dir: filepath.Join(d.Dir, "logs"), Output: in,
		Env:  []string{"TMPDIR=" + filepath.Join(d.Dir, "tmp")},
		Args: []string{"control-plane", "--dir", filepath.Join(d.Dir, "data", "cluster"), "--with-parent", "--quiet"},
	})
	if err != nil {
		return "", err
	}
	var ready struct{ Kubeconfig, URL, Version string }
	answer := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &ready)
		}
		answer <- err
	}()
	select {
	case err = <-answer:
	case <-d.controlPlane.Ended():
		err = fmt.Errorf("it ended:\n%s", d.controlPlane.Tail(10))
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("control plane: %w", err)
	}
	d.kubeconfig = ready.Kubeconfig
	return "Kubernetes " + ready.Version + " at " + ready.URL, d.connect()
}

func (d *demo) connect() (err error) {
	if d.config, err = clientcmd.BuildConfigFromFlags("", d.kubeconfig); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	d.config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, sourcev1.AddToScheme, kustomizev1.AddToScheme,
		notificationv1.AddToScheme, notificationv1beta3.AddToScheme, imagev1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("scheme: %w", err)
		}
	}
	if d.client, err = client.New(d.config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

func (d *demo) installDefinitions(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	n, err := crd.Install(ctx, d.config, d.ConfigDir)
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", fmt.Errorf("no definitions in %q: give --config-dir the directory with them", d.ConfigDir)
	}
	return fmt.Sprintf("%d kinds", n), nil
}

// startControllers starts them all, then waits until each says that it is ready.
func (d *demo) startControllers(ctx context.Context) (string, error) {
	ports, err := freePorts(3 + 2*len(controllerNames))
	if err != nil {
		return "", err
	}
	d.addresses = addresses{events: ports[0], receiver: ports[1], storage: ports[2]}
	health := map[string]string{}
	for i, name := range controllerNames {
		own := ports[3+2*i:]
		health[name] = own[1]
		args := append([]string{"--metrics-addr=" + own[0], "--health-addr=" + own[1]}, d.flags(name)...)
		if err := d.startController(name, args); err != nil {
			return "", err
		}
	}
	for _, name := range controllerNames {
		if err := d.waitReady(ctx, name, health[name]); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d processes are ready", len(controllerNames)), nil
}

// flags are those of a controller that the others do not have.
func (d *demo) flags(name string) []string {
	data := filepath.Join(d.Dir, "data", name)
	events := "--events-addr=http://" + d.addresses.events + "/"
	switch name {
	case sourceController:
		return []string{events, "--storage-path=" + data, "--storage-addr=" + d.addresses.storage, "--storage-adv-addr=" + d.addresses.storage}
	case notificationController:
		return []string{"--events-addr=" + d.addresses.events, "--receiverAddr=" + d.addresses.receiver}
	case imageController:
		return []string{events, "--storage-path=" + data}
	default:
		return []string{events}
	}
}

func (d *demo) startController(name string, args []string) error {
	path, err := filepath.Abs(filepath.Join(d.BinDir, name))
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no %s in %q: build it there or give --bin-dir", name, d.BinDir)
	}
	for _, sub := range []string{"data", "tmp"} {
		if err := os.Mkdir(filepath.Join(d.Dir, sub, name), 0o700); err != nil {
			return fmt.Errorf("directory of %s: %w", name, err)
		}
	}
	d.controllers[name], err = child.Start(child.Options{
		Name: name, Path: path, Args: args, Dir: filepath.Join(d.Dir, "logs"),
		Env: []string{
			"KUBECONFIG=" + d.kubeconfig,
			"RUNTIME_NAMESPACE=" + Namespace,
			"TMPDIR=" + filepath.Join(d.Dir, "tmp", name),
		},
	})
	return err
}

func (d *demo) waitReady(ctx context.Context, name, address string) error {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	p := d.controllers[name]
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if probe(ctx, "http://"+address+"/readyz") {
			return nil
		}
		select {
		case <-p.Ended():
			return fmt.Errorf("%s ended; the end of its log:\n%s", name, p.Tail(10))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready (%w); the end of its log:\n%s", name, ctx.Err(), p.Tail(10))
		case <-tick.C:
		}
	}
}

func probe(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// freePorts returns addresses on 127.0.0.1 that nobody listens on. Another program could take one
// before a controller does; then that controller says so and ends.
func freePorts(n int) ([]string, error) {
	var found []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer listener.Close() // all at the end, so that they differ
		found = append(found, listener.Addr().String())
	}
	return found, nil
}
