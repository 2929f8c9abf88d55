package loop

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/weirhq/weir/internal/process"
)

// lookAgain is how long a right that is missing is waited for at a time.
const lookAgain = time.Minute

// WatchConfigs makes changes of Secrets or ConfigMaps (kind) bring objects back
// to the controller c: of their metadata alone, and only of those that the
// manager's cache selects. Everything else works without the right to list
// them, so what it returns waits for that right; a watch that may not list
// would stop the whole process.
func WatchConfigs(env *process.Env, c controller.Controller, kind string, h handler.EventHandler) manager.RunnableFunc {
	return func(ctx context.Context) error {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
		for told := false; ; told = true {
			err := env.Manager.GetAPIReader().List(ctx, list, client.Limit(1))
			if err == nil {
				break
			}
			if !told {
				env.Log.Info("changes of these objects are not seen at once: they may not be listed", "kind", kind, "reason", err.Error())
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(lookAgain):
			}
		}
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
		return c.Watch(source.Kind[client.Object](env.Manager.GetCache(), object, h, predicate.ResourceVersionChangedPredicate{}))
	}
}
