// Package process is how a controller's program starts and stops: flags,
// logs, probes, metrics, leader election, the event recorder and the graceful
// end, the same for all of them.
//
// Names of flags, ports, paths and log keys are those of the wire API, so that
// manifests and patches written for other implementations of it work.
package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/acl"
	kubeclient "github.com/fluxcd/pkg/runtime/client"
	fluxctrl "github.com/fluxcd/pkg/runtime/controller"
	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/fluxcd/pkg/runtime/leaderelection"
	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/telemetry"
)

// Program describes a controller's program. Only Name and Setup are required.
type Program struct {
	// Name is the program's name, such as "source-controller".
	Name string
	// FieldOwner owns what the reconcile loop writes; "" means Name.
	FieldOwner string
	// Concurrent is the default of --concurrent; 0 means 4.
	Concurrent int
	// AddToScheme adds the API groups the program uses. Kubernetes' own are
	// always there.
	AddToScheme []func(*runtime.Scheme) error
	// Kinds are the objects that --watch-label-selector restricts.
	Kinds []client.Object
	// Flags adds the program's own flags.
	Flags func(*pflag.FlagSet)
	// Inert names flags of the wire API that mean nothing to this version.
	// They are accepted, so that existing manifests start, and reported in the
	// log when set.
	Inert []string
	// Gates holds the feature gates and their defaults.
	Gates map[string]bool
	// Moot names feature gates of the wire API that change nothing in this
	// version, and why. They are accepted, as Inert flags are.
	Moot map[string]string
	// GCPercent is how much garbage may lie beside what is in use before it is
	// collected, in percent (runtime/debug.SetGCPercent); 0 is Go's own default. The
	// environment variable GOGC goes before it.
	GCPercent int
	// Receiver says that the program receives events instead of sending them:
	// then --events-addr is one of its own flags.
	Receiver bool
	// Setup builds the parts and registers them with env.Manager.
	Setup func(ctx context.Context, env *Env) error
}

// inertMark is the value of an inert flag that is given without one.
const inertMark = "true"

// inert names the flags that mean nothing to this version of p. Those of the
// token cache are common to all programs: tokens are kept with the connection
// they belong to.
func (p *Program) inert() []string {
	return append([]string{"token-cache-max-size", "token-cache-max-duration"}, p.Inert...)
}

// moot are the feature gates that change nothing in p.
func (p *Program) moot() map[string]string {
	all := map[string]string{"CacheSecretsAndConfigMaps": "Secrets and ConfigMaps are never cached"}
	maps.Copy(all, p.Moot)
	return all
}

// Env is what Setup gets.
type Env struct {
	Name       string
	FieldOwner string
	// Manager's client reads Secrets and ConfigMaps from the API server and
	// everything else from the cache.
	Manager  ctrl.Manager
	Recorder *events.Recorder
	Log      logr.Logger
	// Concurrent is how many objects of a kind are worked on at once.
	Concurrent int
	// RequeueDependency is how long to wait for something else at the most.
	RequeueDependency time.Duration
	// NoCrossNamespaceRefs forbids references to other namespaces.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount is who acts for objects that name nobody; "" is
	// the controller itself.
	DefaultServiceAccount string
	// RuntimeNamespace is where the program runs; "" when it does not know.
	RuntimeNamespace string
	// State is what /debug/state shows.
	State *telemetry.State
	// Schedule is told when objects are next, for the metrics.
	Schedule *Schedule

	limits fluxctrl.RateLimiterOptions
	gates  map[string]bool
	queues *queues
	last   []func(context.Context)
}

// farewell bounds what is done at the end, after the work has ended.
const farewell = 4 * time.Second

// AtTheEnd has fn called when the work has ended and the lease is given back, so that
// whoever leads next does not wait for it. fn returns when its context ends, some
// seconds later, at the latest.
func (e *Env) AtTheEnd(fn func(context.Context)) { e.last = append(e.last, fn) }

func (e *Env) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	var all sync.WaitGroup
	for _, fn := range e.last {
		all.Go(func() { fn(ctx) })
	}
	all.Wait()
}

// Enabled reports whether a feature gate of Program.Gates is on.
func (e *Env) Enabled(gate string) bool { return e.gates[gate] }

// MaxRetryDelay is the longest wait after a failure.
func (e *Env) MaxRetryDelay() time.Duration { return e.limits.MaxRetryDelay }

// Controller returns the options of a controller for one kind.
func (e *Env) Controller() controller.Options {
	if e.queues == nil { // an Env that was put together by hand
		e.queues = &queues{log: ctrl.Log}
		// A failure that is tried again at once leaves no worker for others.
		e.limits = fluxctrl.RateLimiterOptions{MinRetryDelay: 50 * time.Millisecond, MaxRetryDelay: time.Minute}
	}
	return controller.Options{
		MaxConcurrentReconciles: e.Concurrent,
		RateLimiter:             fluxctrl.GetRateLimiter(e.limits),
		NewQueue:                e.queues.make,
	}
}

// options are the flags that all programs have.
type options struct {
	metricsAddr, healthAddr, eventsAddr, eventsToken string
	tracesEndpoint                                   string
	concurrent                                       int
	requeueDependency                                time.Duration
	defaultServiceAccount                            string
	gates                                            map[string]string
	acl                                              acl.Options
	kube                                             kubeclient.Options
	election                                         leaderelection.Options
	log                                              logger.Options
	limits                                           fluxctrl.RateLimiterOptions
	watch                                            fluxctrl.WatchOptions
	jitter                                           jitter.IntervalOptions
}

func (o *options) bind(fs *pflag.FlagSet, p *Program) {
	fs.StringVar(&o.metricsAddr, "metrics-addr", ":8080", "The address of the metrics endpoint.")
	fs.StringVar(&o.healthAddr, "health-addr", ":9440", "The address of the health and readiness probes.")
	if !p.Receiver {
		fs.StringVar(&o.eventsAddr, "events-addr", "", "The URL of the notification-controller's event endpoint.")
		fs.StringVar(&o.eventsToken, "events-token-file", "", "A file with a token of a service account to show to the notification-controller; it is read for each event.")
	}
	fs.StringVar(&o.tracesEndpoint, "otlp-traces-endpoint", "", "The URL of an OTLP/HTTP collector for traces; by default what OTEL_EXPORTER_OTLP_ENDPOINT says, and no traces without it.")
	fs.IntVar(&o.concurrent, "concurrent", p.Concurrent, "How many objects of a kind are reconciled at once.")
	fs.DurationVar(&o.requeueDependency, "requeue-dependency", 30*time.Second, "How long to wait at most before looking at a dependency again.")
	fs.StringVar(&o.defaultServiceAccount, "default-service-account", "", "The service account that acts for objects that name none.")
	fs.StringToStringVar(&o.gates, "feature-gates", nil, "Feature gates, as name=true or name=false.")
	o.acl.BindFlags(fs)
	o.kube.BindFlags(fs)
	o.election.BindFlags(fs)
	o.log.BindFlags(fs)
	o.limits.BindFlags(fs)
	o.watch.BindFlags(fs)
	o.jitter.BindFlags(fs)
	if p.Flags != nil {
		p.Flags(fs)
	}
	for _, name := range p.inert() {
		if fs.Lookup(name) != nil {
			continue // the program gives it a meaning
		}
		fs.String(name, "", "Accepted for compatibility; it means nothing to this version.")
		fs.Lookup(name).NoOptDefVal = inertMark
	}
}

// features merges --feature-gates into the defaults of p.
func (o *options) features(p *Program) (map[string]bool, error) {
	out, moot := maps.Clone(p.Gates), p.moot()
	if out == nil {
		out = map[string]bool{}
	}
	for name, text := range o.gates {
		_, counts := p.Gates[name]
		if _, without := moot[name]; !counts && !without {
			known := slices.Sorted(maps.Keys(p.Gates))
			return nil, fmt.Errorf("--feature-gates: %q is no feature gate of this program; it has %s; without effect are %s",
				name, strings.Join(known, ", "), strings.Join(slices.Sorted(maps.Keys(moot)), ", "))
		}
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("--feature-gates: %s=%q: use true or false", name, text)
		}
		out[name] = text == "true"
	}
	return out, nil
}

// Main runs the program until it is told to stop, and exits: with 0 after a
// signal, with 1 and a logged error otherwise.
func Main(p Program) {
	if p.GCPercent > 0 && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(p.GCPercent)
	}
	if err := run(ctrl.SetupSignalHandler(), &p, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p *Program, args []string) error {
	p.FieldOwner = orDefault(p.FieldOwner, p.Name)
	if p.Concurrent == 0 {
		p.Concurrent = 4
	}
	var o options
	fs := pflag.NewFlagSet(p.Name, pflag.ContinueOnError)
	o.bind(fs, p)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("%w (--help lists the flags)", err)
	}
	if err := o.check(fs); err != nil {
		return err
	}
	logger.SetLogger(logger.NewLogger(o.log))
	log := ctrl.Log.WithName("setup")
	for _, name := range p.inert() {
		if f := fs.Lookup(name); f.Changed && f.NoOptDefVal == inertMark {
			log.Info("a flag was accepted that means nothing to this version", "flag", "--"+name)
		}
	}
	o.tellMoot(p, log)
	stop, err := o.trace(ctx, p)
	if err != nil {
		return err
	}
	defer stop()
	env, err := o.env(p)
	if err != nil {
		return err
	}
	if err := p.Setup(ctx, env); err != nil {
		log.Error(err, "starting failed")
		return err
	}
	log.Info("starting", "controller", p.Name)
	err = start(ctx, env.Manager)
	env.end(ctx)
	return err
}

// check refuses what the flags' own parsers let pass. An argument that is no flag is
// nearly always the value of a boolean one, as in "--watch-all-namespaces false",
// which would then mean its opposite.
func (o *options) check(fs *pflag.FlagSet) error {
	switch {
	case fs.NArg() > 0:
		return fmt.Errorf("%q is no flag: write a value with its flag, as --flag=value (--help lists the flags)", fs.Arg(0))
	case o.concurrent < 1:
		return fmt.Errorf("--concurrent=%d: at least 1", o.concurrent)
	case !slices.Contains([]string{"trace", "debug", "info", "error"}, o.log.LogLevel):
		return fmt.Errorf("--log-level=%q: use trace, debug, info or error", o.log.LogLevel)
	case !slices.Contains([]string{"json", "console"}, o.log.LogEncoding):
		return fmt.Errorf("--log-encoding=%q: use json or console", o.log.LogEncoding)
	}
	return nil
}

// tellMoot logs which of the gates that are given change nothing.
func (o *options) tellMoot(p *Program, log logr.Logger) {
	moot := p.moot()
	for _, name := range slices.Sorted(maps.Keys(o.gates)) {
		if why, ok := moot[name]; ok {
			log.Info("a feature gate was accepted that changes nothing in this version", "gate", name, "because", why)
		}
	}
}

func (o *options) env(p *Program) (*Env, error) {
	gates, err := o.features(p)
	if err != nil {
		return nil, err
	}
	if err := o.jitter.SetGlobalJitter(nil); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range append([]func(*runtime.Scheme) error{clientgoscheme.AddToScheme}, p.AddToScheme...) {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	state := &telemetry.State{}
	mgr, err := o.manager(p, scheme, state)
	if err != nil {
		return nil, err
	}
	env := &Env{
		Name: p.Name, FieldOwner: p.FieldOwner, Manager: mgr, Log: ctrl.Log, Concurrent: o.concurrent,
		RequeueDependency: o.requeueDependency, NoCrossNamespaceRefs: o.acl.NoCrossNamespaceRefs,
		DefaultServiceAccount: o.defaultServiceAccount, RuntimeNamespace: os.Getenv("RUNTIME_NAMESPACE"),
		State: state, Schedule: &Schedule{}, limits: o.limits, gates: gates, queues: &queues{log: ctrl.Log},
	}
	env.Recorder = events.New(events.Options{
		Controller: p.Name, Scheme: scheme, Address: o.eventsAddr, TokenFile: o.eventsToken, Log: ctrl.Log.WithName("events"),
		Kubernetes: mgr.GetEventRecorderFor(p.Name), //nolint:staticcheck // command lines and dashboards read core/v1 Events
	})
	if err := env.measure(p); err != nil {
		return nil, err
	}
	return env, mgr.Add(env.Recorder)
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
