package apply

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// each runs fn for every task, Options.Concurrency at a time, and returns the
// errors in the order of the tasks. A panic is an error of its object.
func (a *Applier) each(ctx context.Context, tasks []*task, fn func(context.Context, *task) error) []error {
	errs := make([]error, len(tasks))
	fanOut(a.options.Concurrency, len(tasks), func(i int) {
		defer func() {
			if p := recover(); p != nil {
				a.options.Log.Error(nil, "panic while applying", "object", tasks[i].ref.String(), "panic", p, "stack", string(debug.Stack()))
				errs[i], tasks[i].refused = tasks[i].fail("apply", fmt.Errorf("panic: %v", p)), true
			}
		}()
		errs[i] = fn(ctx, tasks[i])
		tasks[i].refused = errs[i] != nil
	})
	var failed []error
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// fanOut calls fn with 0 to n-1, at most width at a time, and waits for all. A
// panic of one is a panic of the caller, once the others are done.
func fanOut(width, n int, fn func(int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	var broken atomic.Pointer[string]
	for range min(width, n) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					text := fmt.Sprintf("%v\n%s", p, debug.Stack())
					broken.CompareAndSwap(nil, &text)
				}
			}()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
	if text := broken.Load(); text != nil {
		panic(*text)
	}
}

// awaitDefinition waits until others can use what was just written: until a
// CustomResourceDefinition is served, and a namespace of the same name that is
// on its way out is gone and has been made anew.
func (a *Applier) awaitDefinition(ctx context.Context, t *task) error {
	switch {
	case t.change.Action != Created && t.change.Action != Configured:
		return nil
	case isCRD(t.ref.GroupVersionKind):
		return a.awaitServed(ctx, t)
	case t.ref.Kind == "Namespace" && t.going:
		if err := awaitGone(ctx, a.client(a.served(t), ""), t.ref.Name, t.uid); err != nil {
			return t.fail("waiting", err)
		}
		return a.write(ctx, t)
	}
	return nil
}

// servedTimeout is how long a definition may take to be served, as peers have it.
const servedTimeout = time.Minute

// awaitServed waits until the API server serves a definition's kind.
func (a *Applier) awaitServed(ctx context.Context, t *task) error {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	p := newPause(20*time.Millisecond, 500*time.Millisecond)
	for {
		u, err := a.full.Resource(a.served(t)).Get(ctx, t.ref.Name, metav1.GetOptions{})
		if apierrors.IsForbidden(err) {
			return nil // it may not be read; its objects are waited for anyway
		}
		if err != nil {
			return t.fail("waiting", err)
		}
		names, why := condition(u, "NamesAccepted")
		if names == "False" {
			return t.fail("waiting", fmt.Errorf("its names are not accepted: %s", why))
		}
		if established, _ := condition(u, "Established"); established == "True" {
			for _, r := range a.snapshot() { // a watch may be waiting for this kind
				if r.source.State() == drift.NoKind {
					r.source.Wake()
				}
			}
			return nil
		}
		if err := p.wait(ctx); err != nil {
			return t.fail("waiting", fmt.Errorf("it is not served yet: %w", err))
		}
	}
}

// condition returns the status and message of one of an object's conditions.
func condition(u *unstructured.Unstructured, kind string) (status, message string) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			status, _ = m["status"].(string)
			message, _ = m["message"].(string)
		}
	}
	return status, message
}

// goneTimeout is how long an object that was deleted is waited for. Finalizers may
// take for ever, and whoever waits holds a worker.
const goneTimeout = 1500 * time.Millisecond

// awaitGone waits a moment until the object with the identity given is gone. For
// the error when it is not, Terminating holds.
func awaitGone(ctx context.Context, res metaClient, name string, uid types.UID) error {
	p, began := newPause(20*time.Millisecond, time.Second), time.Now()
	for {
		live, err := res.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case live.UID != uid:
			return nil
		case time.Since(began) > goneTimeout:
			return &terminatingError{live.Finalizers}
		}
		if err := p.wait(ctx); err != nil {
			return fmt.Errorf("it is still being deleted, held by finalizers %q: %w", live.Finalizers, err)
		}
	}
}
