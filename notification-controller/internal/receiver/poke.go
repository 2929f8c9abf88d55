package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// poke asks all objects that the targets name to reconcile. One that fails
// does not keep the others from being asked.
func (h *Handler) poke(ctx context.Context, targets []target, call Call) error {
	ctx, cancel := context.WithTimeout(ctx, pokeTimeout)
	defer cancel()
	objects, err := h.expand(ctx, targets, call)
	body, encodeErr := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		meta.ReconcileRequestAnnotation: time.Now().Format(time.RFC3339Nano),
	}}})
	if encodeErr != nil {
		return encodeErr
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
	return errors.Join(append(errs, err)...)
}

func (h *Handler) patch(ctx context.Context, obj *metav1.PartialObjectMetadata, body []byte) error {
	kind, key := obj.Kind, client.ObjectKeyFromObject(obj)
	if err := h.Client.Patch(ctx, obj, client.RawPatch("application/merge-patch+json", body), client.FieldOwner(h.FieldOwner)); err != nil {
		return fmt.Errorf("annotating %s %q: %w", kind, key.String(), err)
	}
	h.Log.Info("asked an object to reconcile", "kind", kind, "name", key.Name, "namespace", key.Namespace)
	return nil
}

// expand names the objects that the targets mean. What could be found is
// returned even with an error.
func (h *Handler) expand(ctx context.Context, targets []target, call Call) ([]*metav1.PartialObjectMetadata, error) {
	var out []*metav1.PartialObjectMetadata
	var errs []error
	for _, t := range targets {
		found, err := h.find(ctx, t)
		errs = append(errs, err)
		if t.filter != nil {
			found, err = chosen(ctx, t.filter, found, call)
			errs = append(errs, err)
		}
		for _, o := range found {
			out = append(out, metadataOf(t.gvk, o.Namespace, o.Name))
		}
	}
	return out, errors.Join(errs...)
}

// find returns the objects of one target. One that is named and not filtered
// need not be read.
func (h *Handler) find(ctx context.Context, t target) ([]*metav1.PartialObjectMetadata, error) {
	if t.name == "*" {
		return h.list(ctx, t)
	}
	obj := metadataOf(t.gvk, t.namespace, t.name)
	if t.filter != nil {
		if err := h.Live.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return nil, fmt.Errorf("reading %s %q in namespace %q: %w", t.gvk.Kind, t.name, t.namespace, err)
		}
	}
	return []*metav1.PartialObjectMetadata{obj}, nil
}

// chosen returns the objects that the filter wants.
func chosen(ctx context.Context, f *filter, objects []*metav1.PartialObjectMetadata, call Call) (out []*metav1.PartialObjectMetadata, problems error) {
	var req any
	if err := json.Unmarshal(call.Body, &req); err != nil {
		return nil, &answer{http.StatusBadRequest, fmt.Errorf("%w: a filter needs a body in JSON", ErrPayload)}
	}
	for _, obj := range objects {
		ok, err := f.wants(ctx, obj, req)
		problems = errors.Join(problems, err)
		if ok {
			out = append(out, obj)
		}
	}
	return out, problems
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
