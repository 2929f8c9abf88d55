// Notification-controller tells the events of the other controllers to the
// outside world, and lets webhooks from the outside start reconciliations.
package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/notification-controller/internal/listener"
)

// ignoreConfigs is the gate that keeps Secrets from being watched.
const ignoreConfigs = "DisableConfigWatchers"

// gates are all feature gates with their defaults.
var gates = map[string]bool{auth.FeatureGateObjectLevelWorkloadIdentity: false, ignoreConfigs: false}

// options are the flags of this program.
type options struct {
	eventsAddr, receiverAddr, storagePath string
	rateLimit                             time.Duration
	exportPaths                           bool
	tokenCacheSize                        int
	tokenCacheDuration                    time.Duration
	refuseShort                           bool
	webhookRate                           float64
	fold                                  time.Duration
	requireToken                          bool
	senders                               []string
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.eventsAddr, "events-addr", ":9090", "The address at which events are taken.")
	fs.StringVar(&o.receiverAddr, "receiverAddr", ":9292", "The address at which webhooks are taken.")
	fs.StringVar(&o.storagePath, "storage-path", storagePath(), "The folder of the queue of events; each replica needs its own. Also by the environment variable STORAGE_PATH. Events survive as long as this folder does.")
	fs.DurationVar(&o.rateLimit, "rate-limit-interval", 5*time.Minute, "How long an event that says the same is not told again.")
	fs.BoolVar(&o.exportPaths, "export-http-path-metrics", false, "Whether HTTP metrics have the path of each request as a label.")
	fs.IntVar(&o.tokenCacheSize, "token-cache-max-size", 100, "How many credentials of cloud providers are kept.")
	fs.DurationVar(&o.tokenCacheDuration, "token-cache-max-duration", time.Hour, "How long a credential of a cloud provider is used; an hour at the most.")
	fs.BoolVar(&o.refuseShort, "refuse-short-tokens", false, "Refuse Receivers whose token has fewer than 16 characters, instead of warning of them.")
	fs.Float64Var(&o.webhookRate, "webhook-rate-limit", 20, "How many calls a second the webhook of each Receiver takes, five times as many at once; 0 takes all.")
	fs.DurationVar(&o.fold, "fold-window", 0, "For how long repeats of an event, and events of an object that flaps, are folded into one message; 0 tells each. The annotation weir.dev/fold of an Alert wins.")
	fs.BoolVar(&o.requireToken, "require-event-token", false, "Take events of those only who show a token of a service account for the audience notification-controller.")
	fs.StringSliceVar(&o.senders, "event-senders", nil, "The service accounts that may post events when a token is required, as namespace/name or namespace/*; by default those of the controller's own namespace.")
}

func storagePath() string {
	if v := os.Getenv("STORAGE_PATH"); v != "" {
		return v
	}
	return filepath.Join(os.TempDir(), "notification-controller")
}

func main() {
	var o options
	process.Main(process.Program{
		Name:        "notification-controller",
		AddToScheme: []func(*runtime.Scheme) error{notificationv1.AddToScheme, notificationv1beta3.AddToScheme},
		Kinds:       []client.Object{&notificationv1.Receiver{}, &notificationv1beta3.Alert{}, &notificationv1beta3.Provider{}},
		Gates:       gates,
		Flags:       o.bind,
		GCPercent:   50, // a good part of the heap is schemas that stay, which need no garbage beside them
		Receiver:    true,
		Setup:       o.setup,
	})
}

func (o *options) setup(ctx context.Context, env *process.Env) error {
	if env.Enabled(auth.FeatureGateObjectLevelWorkloadIdentity) {
		auth.EnableObjectLevelWorkloadIdentity()
	}
	if err := o.notifications(ctx, env); err != nil {
		return err
	}
	return o.receivers(ctx, env)
}

func (o *options) server(env *process.Env, name, addr string, h http.Handler, ready func(context.Context) error) *listener.Server {
	return &listener.Server{
		Name: name, Addr: addr, Ready: ready,
		Handler: listener.NewMetrics("gotk_"+name, o.exportPaths).Wrap(h),
		Log:     env.Log.WithName(name),
	}
}
