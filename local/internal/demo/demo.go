// Package demo runs the whole of Weir on one machine: a control plane, the four controllers as
// processes of their own, a Git server, a registry and the receiving end of a Slack webhook. It shows
// an example application, or a repository that is given, on its way from a commit to running objects,
// and proves every claim it makes against the API server.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/toolkit"
	"github.com/weirhq/weir/local/internal/board"
	"github.com/weirhq/weir/local/internal/registry"
	"github.com/weirhq/weir/local/internal/slack"
)

// Namespace is where Weir's objects are.
const Namespace = "flux-system"

// Options of Run. Program, BinDir and ConfigDir are required.
type Options struct {
	Program   string // weir-local itself, which is also the control plane
	BinDir    string // the four controllers
	ConfigDir string // the custom resource definitions
	Dir       string // data and logs; "" takes a temporary one with Once, the user's state directory without

	Repo       string // path or URL of a repository to follow instead of the example
	Path       string // the directory in it; "" is its root
	Identity   string // SSH private key file, for a Repo by SSH
	KnownHosts string // known_hosts file, for a Repo by SSH

	Once    bool          // end after the demonstration
	Timeout time.Duration // for each thing that is waited for; 0 means a minute
	Out     *os.File
}

// demo is what a run has.
type demo struct {
	Options
	board *board.Board
	began time.Time

	config       *rest.Config
	client       client.Client
	controlPlane *toolkit.ControlPlane
	controllers  *toolkit.Toolkit

	git      *gitserver.Server
	registry *registry.Registry
	slack    *slack.Sink
	hook     *hook

	mu     sync.Mutex
	pushed time.Time // when the Git server has taken the last push
}

// Run does all of it. With Once it returns after the demonstration: nil only if every step did what it
// says. Without, it returns nil when ctx ends after the demonstration.
func Run(ctx context.Context, o Options) (err error) {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	d := &demo{Options: o, board: board.New(o.Out), began: time.Now()}
	release, err := d.openDir()
	if err != nil {
		return err
	}
	own, err := d.check(ctx)
	if err != nil {
		return errors.Join(err, release(true)) // there are no logs to keep
	}
	defer func() { err = errors.Join(err, release(err == nil)) }()
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	if o.Repo != "" {
		err = d.showRepository(ctx, own)
	} else {
		err = d.showExample(ctx)
	}
	if err != nil {
		return err
	}
	if o.Once {
		d.board.Title(fmt.Sprintf("Every step did what it says (%.1f s in all)", time.Since(d.began).Seconds()))
		return nil
	}
	d.usage()
	return d.follow(ctx)
}

// check finds what was asked for wrongly before anything is started. What it returns is the repository
// that is to be followed, if one was given.
func (d *demo) check(ctx context.Context) (followed, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return followed{}, errors.New("git is not installed, or not in PATH")
	}
	for _, name := range toolkit.All {
		if _, err := os.Stat(filepath.Join(d.BinDir, name)); err != nil {
			return followed{}, fmt.Errorf("%q has no %s: make build builds it, --bin-dir says where it is", d.BinDir, name)
		}
	}
	if found, _ := filepath.Glob(filepath.Join(d.ConfigDir, "*.yaml")); len(found) == 0 {
		return followed{}, fmt.Errorf("no definitions in %q: give --config-dir the directory with them", d.ConfigDir)
	}
	switch {
	case d.Repo != "":
		return d.locate(ctx)
	case d.Path != "":
		return followed{}, errors.New("--path needs --repo: it is a directory in that repository")
	}
	return followed{}, nil
}

// start brings everything up, in the order in which one needs the other.
func (d *demo) start(ctx context.Context) error {
	d.board.Title("Starting Weir on this machine")
	d.board.Note("The API server is real, Pods are simulated: they become Ready without anything being run.")
	rows, end := d.board.Rows(time.Now(), "control plane", "definitions of Weir's kinds", "Git server and registry", "controllers")
	defer end()
	steps := []func(context.Context) (string, error){d.startControlPlane, d.installDefinitions, d.startServers, d.startControllers}
	for i, step := range steps {
		rows[i].Since(time.Now())
		detail, err := step(ctx)
		if err != nil {
			rows[i].Fail(err.Error())
			return err
		}
		rows[i].Done(detail)
	}
	return nil
}

// startServers starts what would be elsewhere in earnest: the Git host, the registry, Slack.
func (d *demo) startServers(context.Context) (string, error) {
	var err error
	if d.registry, err = registry.Start(); err != nil {
		return "", err
	}
	if d.slack, err = slack.Start(); err != nil {
		return "", err
	}
	d.hook = newHook()
	d.git, err = gitserver.Start(gitserver.Options{
		Root: filepath.Join(d.Dir, "git"), Username: gitUser, Password: d.hook.token, OnPush: d.onPush,
	})
	if err != nil {
		return "", fmt.Errorf("git server: %w", err)
	}
	return fmt.Sprintf("%s, registry %s", d.git.URL(""), d.registry.Host), nil
}

// stop ends the controllers, then the API server they talk to, then the servers.
func (d *demo) stop() error {
	var errs []error
	if d.controllers != nil {
		errs = append(errs, d.controllers.Stop())
	}
	if d.controlPlane != nil {
		errs = append(errs, d.controlPlane.Stop())
	}
	if d.git != nil {
		errs = append(errs, d.git.Close())
	}
	if d.registry != nil {
		errs = append(errs, d.registry.Close())
	}
	if d.slack != nil {
		errs = append(errs, d.slack.Close())
	}
	return errors.Join(errs...)
}
