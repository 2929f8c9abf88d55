package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	apiapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// auditPolicy records who did what to which object, once per request and twice per watch (its start
// and its end), and leaves out probes and metrics.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/metrics"]
- level: Metadata
`

// startServer runs kube-apiserver on listener. Its cobra command is not used: that installs signal
// handlers of its own and configures the process's logging, which can be done once only.
func (cp *ControlPlane) startServer(listener net.Listener, creds *credentials, o Options) error {
	args, err := serverArgs(creds, cp.store.endpoint, o)
	if err != nil {
		return err
	}
	s := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range s.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("flags of the API server: %w", err)
	}
	s.SecureServing.Listener = listener
	s.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("feature gates of the API server: %w", err)
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	ctx, stop := context.WithCancel(context.Background())
	completed, err := s.Complete(ctx)
	if err != nil {
		stop()
		return fmt.Errorf("options of the API server: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		stop()
		return fmt.Errorf("options of the API server: %w", utilerrors.NewAggregate(errs))
	}
	cp.stopServer, cp.serverEnded = stop, make(chan struct{})
	go func() {
		defer close(cp.serverEnded)
		if err := apiapp.Run(ctx, completed); ctx.Err() == nil {
			cp.failed <- fmt.Errorf("the API server ended: %w", errors.Join(err, errEnded))
		}
	}()
	return nil
}

// serverArgs are the flags of kube-apiserver.
func serverArgs(creds *credentials, etcd string, o Options) ([]string, error) {
	key := creds.file("service-account.key")
	args := []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none", // one server, no Endpoints to keep
		"--cert-dir=" + creds.dir,
		"--tls-cert-file=" + creds.file("server.crt"),
		"--tls-private-key-file=" + creds.file("server.key"),
		"--token-auth-file=" + creds.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-key-file=" + key,
		"--service-account-signing-key-file=" + key,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true",
		"--event-ttl=1h",
		"--shutdown-watch-termination-grace-period=1s", // more than 0 tells watches to end; else they hold up the end
		"--feature-gates=WatchList=true",
	}
	if o.AuditLog == "" {
		return args, nil
	}
	policy := filepath.Join(creds.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("audit policy: %w", err)
	}
	return append(args, "--audit-policy-file="+policy, "--audit-log-path="+o.AuditLog, "--audit-log-format=json"), nil
}
