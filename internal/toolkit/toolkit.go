// Package toolkit runs the controllers' programs as processes of this machine:
// for the demonstration, the end-to-end stories and the benchmarks. Every
// address is on the loopback interface.
package toolkit

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Names of the programs, in the order in which they are started.
const (
	Source          = "source-controller"
	Kustomize       = "kustomize-controller"
	Notification    = "notification-controller"
	ImageAutomation = "image-automation-controller"
)

// All lists the programs.
var All = []string{Source, Kustomize, Notification, ImageAutomation}

// Options of a Toolkit. BinDir, WorkDir and Kubeconfig are required.
type Options struct {
	// BinDir holds the programs.
	BinDir string
	// WorkDir is where they keep their files and logs.
	WorkDir string
	// Kubeconfig says which cluster they work on.
	Kubeconfig string
	// Programs to run; nil runs all.
	Programs []string
	// Flags are added to those of a program.
	Flags map[string][]string
}

// Toolkit is a set of running programs.
type Toolkit struct {
	o         Options
	programs  map[string]*program
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
	t := &Toolkit{o: o, programs: map[string]*program{}, addresses: map[string]string{}}
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
			t.Stop()
			return nil, err
		}
	}
	for _, name := range o.Programs {
		if err := t.WaitReady(ctx, name); err != nil {
			t.Stop()
			return nil, err
		}
	}
	return t, nil
}

// Address returns host:port of what a program listens on for a purpose:
// "metrics", "health", "artifacts", "events" or "webhooks".
func (t *Toolkit) Address(name, purpose string) string { return t.addresses[name+" "+purpose] }

// LogFile returns the file that a program logs to.
func (t *Toolkit) LogFile(name string) string { return filepath.Join(t.o.WorkDir, name+".log") }

// Run starts a program that is not running.
func (t *Toolkit) Run(name string) error {
	dir := filepath.Join(t.o.WorkDir, name)
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return err
	}
	p, err := start(filepath.Join(t.o.BinDir, name), t.flags(name, dir), t.LogFile(name),
		"KUBECONFIG="+t.o.Kubeconfig, "TMPDIR="+filepath.Join(dir, "tmp"), "RUNTIME_NAMESPACE=default")
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	t.programs[name] = p
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
	p := t.programs[name]
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
			return fmt.Errorf("%s ended: %v\n%s", name, p.err, t.Tail(name, 20))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", name, ctx.Err(), t.Tail(name, 20))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Signal sends a signal to a program, and waits for its end if it is one that
// ends it. It returns how the program ended: nil for exit code 0.
func (t *Toolkit) Signal(name string, s os.Signal) error {
	p := t.programs[name]
	if err := p.signal(s); err != nil {
		return err
	}
	<-p.ended
	return p.err
}

// Stop ends all programs, in the reverse order of their start. It returns when
// they are gone.
func (t *Toolkit) Stop() {
	for _, name := range slices.Backward(t.o.Programs) {
		if p := t.programs[name]; p != nil {
			p.stop()
		}
	}
}

// Ended returns a channel that is closed when a program ends.
func (t *Toolkit) Ended(name string) <-chan struct{} { return t.programs[name].ended }

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
