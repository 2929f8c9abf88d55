package controlplane

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// controllerNames are the controllers that run: those that make workloads move and objects go away.
var controllerNames = []string{
	names.NamespaceController,
	names.GarbageCollectorController,
	names.ServiceAccountController,
	names.ServiceAccountTokenController,
	names.RootCACertificatePublisherController,
	names.ClusterRoleAggregationController,
	names.DeploymentController,
	names.ReplicaSetController,
	names.StatefulSetController,
	names.DaemonSetController,
	names.JobController,
	names.CronJobController,
	names.TTLAfterFinishedController,
	names.EndpointSliceController,
	names.DisruptionController,
	names.PersistentVolumeClaimProtectionController, // admission adds the finalizers that these release
	names.PersistentVolumeProtectionController,
}

// controllers prepares the controllers of kube-controller-manager; what it returns runs them until its
// context ends.
func controllers(ctx context.Context, kubeconfig string, creds *credentials) (func(context.Context) error, error) {
	o, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("options of the controllers: %w", err)
	}
	known, off, aliases := kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases()
	sets := o.Flags(known, off, aliases)
	o.ParsedFlags = &sets
	flags := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	err = flags.Parse([]string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=" + strings.Join(controllerNames, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--service-account-private-key-file=" + creds.file("service-account.key"),
		"--root-ca-file=" + creds.file("server.crt"),
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	})
	if err != nil {
		return nil, fmt.Errorf("flags of the controllers: %w", err)
	}
	if err := o.Validate(known, off, aliases); err != nil {
		return nil, fmt.Errorf("options of the controllers: %w", err)
	}
	c, err := o.Config(ctx, known, off, aliases)
	if err != nil {
		return nil, fmt.Errorf("options of the controllers: %w", err)
	}
	return func(ctx context.Context) error { return kcmapp.Run(ctx, c.Complete()) }, nil
}
