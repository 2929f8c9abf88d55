package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// parallel bounds the patches of one call that are under way at once.
	parallel = 10
	// page is how many objects one list request returns.
	page = 500
	// pokeTimeout bounds everything that one call does to objects.
	pokeTimeout = 30 * time.Second
)

// outcome says what a call set off.
type outcome struct{ told, meant int }

func (o outcome) String() string {
	if o.told == o.meant {
		return fmt.Sprintf("%d objects were asked to reconcile", o.told)
	}
	return fmt.Sprintf("%d of %d objects were asked to reconcile", o.told, o.meant)
}

// poke asks all objects that the targets name to reconcile. One that fails
// does not keep the others from being asked.
func (h *Handler) poke(ctx context.Context, targets []target, call Call) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, pokeTimeout)
	defer cancel()
	objects, problems := h.expand(ctx, targets, call)
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		meta.ReconcileRequestAnnotation: time.Now().Format(time.RFC3339Nano),
	}}})
	if err != nil {
		return outcome{}, err
	}
	errs := make([]error, len(objects))
	slots := make(chan struct{}, parallel)
	var work sync.WaitGroup
	for i, obj := range objects {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			errs[i] = h.patch(ctx, obj, body)
		})
	}
	work.Wait()
	done := outcome{meant: len(objects) + len(problems)}
	for _, err := range errs {
		if err == nil {
			done.told++
		}
	}
	return done, errors.Join(append(errs, problems...)...)
}

func (h *Handler) patch(ctx context.Context, obj *metav1.PartialObjectMetadata, body []byte) error {
	kind, key := obj.Kind, client.ObjectKeyFromObject(obj)
	if err := h.Client.Patch(ctx, obj, client.RawPatch("application/merge-patch+json", body), client.FieldOwner(h.FieldOwner)); err != nil {
		return fmt.Errorf("annotating %s %q: %w", kind, key.String(), err)
	}
	h.Log.Info("asked an object to reconcile", "kind", kind, "name", key.Name, "namespace", key.Namespace)
	return nil
}

// expand names the objects that the targets mean, and what went wrong with
// others.
func (h *Handler) expand(ctx context.Context, targets []target, call Call) (out []*metav1.PartialObjectMetadata, problems []error) {
	for _, t := range targets {
		found, err := h.find(ctx, t)
		if err != nil {
			problems = append(problems, err)
		}
		if len(t.filters) > 0 {
			var errs []error
			found, errs = chosen(ctx, t.filters, found, call)
			problems = append(problems, errs...)
		}
		for _, o := range found {
			out = append(out, metadataOf(t.gvk, o.Namespace, o.Name))
		}
	}
	return out, problems
}

// find returns the objects of one target. One that is named and not filtered
// need not be read.
func (h *Handler) find(ctx context.Context, t target) ([]*metav1.PartialObjectMetadata, error) {
	if t.name == "*" {
		return h.list(ctx, t)
	}
	obj := metadataOf(t.gvk, t.namespace, t.name)
	if len(t.filters) > 0 {
		if err := h.Live.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return nil, fmt.Errorf("reading %s %q in namespace %q: %w", t.gvk.Kind, t.name, t.namespace, err)
		}
	}
	return []*metav1.PartialObjectMetadata{obj}, nil
}

func (h *Handler) list(ctx context.Context, t target) ([]*metav1.PartialObjectMetadata, error) {
	var out []*metav1.PartialObjectMetadata
	more := ""
	for {
		l := &metav1.PartialObjectMetadataList{}
		l.SetGroupVersionKind(t.gvk.GroupVersion().WithKind(t.gvk.Kind + "List"))
		err := h.Live.List(ctx, l, client.InNamespace(t.namespace), client.MatchingLabels(t.labels), client.Limit(page), client.Continue(more))
		if err != nil {
			return out, fmt.Errorf("listing %s in namespace %q: %w", t.gvk.Kind, t.namespace, err)
		}
		for _, item := range l.Items {
			item.SetGroupVersionKind(t.gvk)
			out = append(out, &item)
		}
		if more = l.Continue; more == "" {
			return out, nil
		}
	}
}

func metadataOf(gvk schema.GroupVersionKind, namespace, name string) *metav1.PartialObjectMetadata {
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(gvk)
	obj.Namespace, obj.Name = namespace, name
	return obj
}
