package testenv

import (
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Direct returns a manager without a cache, for tests that call Reconcile
// themselves: what a test wrote, a reconciler reads, and its requests can be
// counted. It has the two clients and nothing else.
func Direct(c client.Client) ctrl.Manager { return direct{client: c} }

type direct struct {
	ctrl.Manager
	client client.Client
}

func (d direct) GetClient() client.Client    { return d.client }
func (d direct) GetAPIReader() client.Reader { return d.client }
