package kustomization

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/telemetry"
)

// corrections has a series per object that was ever corrected, which goes with it.
var corrections = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "weir_drift_corrections_total",
	Help: "Objects on the cluster that were changed or deleted by somebody else, and put right, by Kustomization.",
}, []string{"name", "exported_namespace"})

func init() { metrics.Registry.MustRegister(corrections) }

// Follow implements loop.Follower: the work is on the revision of the source,
// which made it.
func (r *Reconciler) Follow(k *kustomizev1.Kustomization) telemetry.Revision {
	source := sourceKey(k)
	return telemetry.Revision{
		Name:  k.Status.LastAttemptedRevision,
		Maker: telemetry.Object{Kind: k.Spec.SourceRef.Kind, Namespace: source.Namespace, Name: source.Name},
	}
}
