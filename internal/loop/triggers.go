package loop

import (
	"maps"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// AnnotationPrefix is the prefix of the annotations by which Weir's own
// features are switched on.
const AnnotationPrefix = "weir.dev/"

// Triggers lets through what an object's own reconciler must react to: it was
// made, its spec changed, it is being deleted, somebody asked for a
// reconciliation, or a weir.dev annotation changed. Status writes are not
// among that.
func Triggers() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			if e.ObjectOld == nil || e.ObjectNew == nil {
				return false
			}
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				!e.ObjectOld.GetDeletionTimestamp().Equal(e.ObjectNew.GetDeletionTimestamp()) ||
				!maps.Equal(asked(e.ObjectOld), asked(e.ObjectNew))
		},
	}
}

// asked returns the annotations that ask a reconciler for something.
func asked(obj client.Object) map[string]string {
	out := map[string]string{}
	for k, v := range obj.GetAnnotations() {
		if k == meta.ReconcileRequestAnnotation || strings.HasPrefix(k, AnnotationPrefix) {
			out[k] = v
		}
	}
	return out
}
