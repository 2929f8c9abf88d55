// Package toolkit runs the controllers' programs as processes of this machine:
// for the demonstration, the end-to-end stories and the benchmarks. Every
// address is on the loopback interface.
package toolkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Names of the programs.
const (
	Source          = "source-controller"
	Kustomize       = "kustomize-controller"
	Notification    = "notification-controller"
	ImageAutomation = "image-automation-controller"
)

// All lists the programs in the order in which they are started.
var All = []string{Notification, Source, Kustomize, ImageAutomation}

// Options of a Toolkit. BinDir, WorkDir and Kubeconfig are required; Kubeconfigs
// for all programs do instead of the last.
type Options struct {
	// BinDir holds the programs.
	BinDir string
	// WorkDir gets the folders logs, data and tmp.
	WorkDir string
	// Kubeconfig says which cluster they work on.
	Kubeconfig string
	// Kubeconfigs are used instead of Kubeconfig by the programs they name:
	// each then works as a user of its own.
	Kubeconfigs map[string]string
	// Namespace is where they think they run; "" means "default".
	Namespace string
	// Programs to run; nil runs all.
	Programs []string
	// Flags are added to those of a program.
	Flags map[string][]string
}

// Toolkit is a set of running programs.
type Toolkit struct {
	o         Options
	processes map[string]*Process
	addresses map[string]string // by program and purpose
}

// purposes are what a program listens for.
var purposes = map[string][]string{
	Source:          {"metrics", "health", "artifacts"},
	Kustomize:       {"metrics", "health"},
	Notification:    {"metrics", "health", "events", "webhooks"},
	ImageAutomation: {"metrics", "health"},
}

// Start starts the programs and waits until each is ready, or ctx ends. What
// was started is stopped again when one of them does not come up.
func Start(ctx context.Context, o Options) (*Toolkit, error) {
	if o.Programs == nil {
		o.Programs = All
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	t := &Toolkit{o: o, processes: map[string]*Process{}, addresses: map[string]string{}}
	for _, name := range o.Programs {
		for _, purpose := range purposes[name] {
			address, err := freeAddress()
			if err != nil {
				return nil, err
			}
			t.addresses[name+" "+purpose] = address
		}
	}
	for _, name := range o.Programs {
		if err := t.Run(name); err != nil {
			return nil, errors.Join(err, t.Stop())
		}
	}
	for _, name := range o.Programs {
		if err := t.WaitReady(ctx, name); err != nil {
			return nil, errors.Join(err, t.Stop())
		}
	}
	return t, nil
}

// Address returns host:port of what a program listens on for a purpose:
// "metrics", "health", "artifacts", "events" or "webhooks".
func (t *Toolkit) Address(name, purpose string) string { return t.addresses[name+" "+purpose] }

// Process returns a program that was started, or nil.
func (t *Toolkit) Process(name string) *Process { return t.processes[name] }

// TempDir returns the folder for temporary files of a program.
func (t *Toolkit) TempDir(name string) string { return filepath.Join(t.o.WorkDir, "tmp", name) }

// Run starts a program that is not running.
func (t *Toolkit) Run(name string) error {
	logs, data := filepath.Join(t.o.WorkDir, "logs"), filepath.Join(t.o.WorkDir, "data", name)
	for _, dir := range []string{logs, data, t.TempDir(name)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("folder of %s: %w", name, err)
		}
	}
	path, err := filepath.Abs(filepath.Join(t.o.BinDir, name))
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no %s in %q: run make build first", name, t.o.BinDir)
	}
	kubeconfig := t.o.Kubeconfig
	if own := t.o.Kubeconfigs[name]; own != "" {
		kubeconfig = own
	}
	p, err := StartProcess(ProcessOptions{
		Name: name, Path: path, Args: t.flags(name, data), LogDir: logs,
		Env: []string{"KUBECONFIG=" + kubeconfig, "TMPDIR=" + t.TempDir(name), "RUNTIME_NAMESPACE=" + t.o.Namespace},
	})
	if err != nil {
		return err
	}
	t.processes[name] = p
	return nil
}

func (t *Toolkit) flags(name, dir string) []string {
	flags := []string{"--metrics-addr=" + t.Address(name, "metrics"), "--health-addr=" + t.Address(name, "health")}
	if name == Notification {
		flags = append(flags, "--events-addr="+t.Address(name, "events"), "--receiverAddr="+t.Address(name, "webhooks"))
	} else if events := t.Address(Notification, "events"); events != "" {
		flags = append(flags, "--events-addr=http://"+events+"/")
	}
	switch name {
	case Source:
		artifacts := t.Address(name, "artifacts")
		flags = append(flags, "--storage-path="+dir, "--storage-addr="+artifacts, "--storage-adv-addr="+artifacts)
	case Kustomize:
		flags = append(flags, "--cache-path="+filepath.Join(dir, "artifacts"))
	default:
		flags = append(flags, "--storage-path="+dir)
	}
	return append(flags, t.o.Flags[name]...)
}

// WaitReady waits until a program answers its readiness probe. The error has
// the end of its log.
func (t *Toolkit) WaitReady(ctx context.Context, name string) error {
	p := t.processes[name]
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Address(name, "health")+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended; the end of its log:\n%s", name, p.Tail(10))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready (%w); the end of its log:\n%s", name, ctx.Err(), p.Tail(10))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends all programs, in the reverse order of their start. It returns when
// they are gone; the error names those that did not end well.
func (t *Toolkit) Stop() error {
	var errs []error
	for _, name := range slices.Backward(t.o.Programs) {
		if p := t.processes[name]; p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
