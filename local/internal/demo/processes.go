package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

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
	"github.com/weirhq/weir/internal/toolkit"
)

// startControlPlane runs this program's control-plane command in a process of its own: Kubernetes keeps
// state per process and ends processes as it sees fit.
func (d *demo) startControlPlane(ctx context.Context) (string, error) {
	logs, tmp := filepath.Join(d.Dir, "logs"), filepath.Join(d.Dir, "tmp", "control-plane")
	for _, dir := range []string{logs, tmp} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("directory of the control plane: %w", err)
		}
	}
	var err error
	d.controlPlane, err = toolkit.StartControlPlane(ctx, toolkit.ControlPlaneOptions{
		Program: d.Program, Dir: filepath.Join(d.Dir, "data", "cluster"), LogDir: logs, Env: []string{"TMPDIR=" + tmp},
	})
	if err != nil {
		return "", err
	}
	return "Kubernetes " + d.controlPlane.Version + " at " + d.controlPlane.URL, d.connect()
}

func (d *demo) connect() (err error) {
	if d.config, err = clientcmd.BuildConfigFromFlags("", d.controlPlane.Kubeconfig); err != nil {
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
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	var err error
	d.controllers, err = toolkit.Start(ctx, toolkit.Options{
		BinDir: d.BinDir, WorkDir: d.Dir, Kubeconfig: d.controlPlane.Kubeconfig, Namespace: Namespace,
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d processes are ready", len(toolkit.All)), nil
}
