package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/local/internal/controlplane"
)

// started is the one line that `weir-local control-plane` prints when everything is ready.
type started struct {
	Kubeconfig string  `json:"kubeconfig"`
	URL        string  `json:"url"`
	PID        int     `json:"pid"`
	Version    string  `json:"version"`
	AuditLog   string  `json:"auditLog,omitempty"`
	Log        string  `json:"log"`
	Pods       bool    `json:"podsSimulated"`
	Seconds    float64 `json:"seconds"`
}

type controlPlaneFlags struct {
	controlplane.Options
	withParent bool
	ephemeral  bool
	quiet      bool
}

func controlPlaneCommand() *cobra.Command {
	var f controlPlaneFlags
	c := &cobra.Command{
		Use:   "control-plane --dir DIR",
		Short: "Run etcd, kube-apiserver and the usual controllers until stopped",
		Long: `Runs etcd, kube-apiserver and the controllers that make workloads move (deployment, job, garbage
collector, ...) in one process, with its data below --dir, and prints one line of JSON on standard
output when the API server answers and a service account exists in the default namespace.

There is no kubelet and no scheduler: with --pods (the default) Pods, PersistentVolumeClaims and
load balancers are simulated, nothing is run.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runControlPlane(c.Context(), f) },
	}
	c.Flags().StringVar(&f.Dir, "dir", "", "directory for data, certificates, logs and the kubeconfig; created when missing")
	c.Flags().IntVar(&f.Port, "port", 0, "port of the API server on 127.0.0.1; 0 takes a free one")
	c.Flags().StringVar(&f.AuditLog, "audit-log", "", "write one JSON line per request (level Metadata) to this file")
	c.Flags().BoolVar(&f.Pods, "pods", true, "simulate Pods, volume claims and load balancers")
	c.Flags().BoolVar(&f.withParent, "with-parent", false, "stop when standard input closes")
	c.Flags().BoolVar(&f.ephemeral, "ephemeral", false, "remove --dir at the end")
	c.Flags().BoolVar(&f.quiet, "quiet", false, "print nothing but the line of JSON")
	if err := c.MarkFlagRequired("dir"); err != nil {
		panic(err)
	}
	return c
}

func runControlPlane(ctx context.Context, f controlPlaneFlags) error {
	began := time.Now()
	// A parent that dies takes its end of our output with it; writing there must not end us before
	// etcd is closed.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.withParent {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return fmt.Errorf("directory %q: %w", f.Dir, err)
	}
	f.Dir = dir
	if f.ephemeral {
		defer os.RemoveAll(dir)
	}
	cp, err := controlplane.Start(ctx, f.Options)
	if err != nil {
		return err
	}
	line, err := json.Marshal(started{
		Kubeconfig: cp.Kubeconfig, URL: cp.URL, PID: os.Getpid(), Version: cp.Version, AuditLog: f.AuditLog,
		Log: cp.Log, Pods: f.Pods, Seconds: time.Since(began).Seconds(),
	})
	if err != nil {
		return errors.Join(err, cp.Stop())
	}
	fmt.Println(string(line))
	if f.Pods && !f.quiet {
		fmt.Fprintln(os.Stderr, "weir-local: Pods are simulated: they become Ready without anything being run")
	}
	select {
	case <-ctx.Done():
		return cp.Stop()
	case err := <-cp.Failed():
		return errors.Join(err, cp.Stop())
	}
}
