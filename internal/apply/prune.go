package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weirhq/weir/internal/apply/drift"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// PruneOptions of Prune.
type PruneOptions struct {
	// Wait counts objects that are still being deleted as survivors, with an
	// error for which Terminating holds, and does not go on to earlier stages
	// until those of later ones are gone. Prune itself does not wait.
	Wait bool
}

// Prune deletes objects, in the reverse order of the stages. Only objects that
// carry the owner's labels at this moment are deleted, and of those not the ones
// whose labels or annotations say prune: disabled, reconcile: disabled or
// ssa: Ignore; these are reported as Skipped. An object that is not there any
// more is gone, and so is one whose kind the API server, asked anew, does not
// serve. What could not be deleted is returned as survivors, with an error.
func (a *Applier) Prune(ctx context.Context, owner types.NamespacedName, refs []Ref, o PruneOptions) (changes []Change, survivors []Ref, err error) {
	if a.broken != nil {
		return nil, refs, a.broken
	}
	var errs []error
	for st := stages - 1; st >= 0; st-- {
		var batch []Ref
		for _, r := range refs {
			if a.stageOf(r.GroupVersionKind) == st {
				batch = append(batch, r)
			}
		}
		slices.SortFunc(batch, compareRefs)
		if o.Wait && len(errs) > 0 {
			survivors = append(survivors, batch...)
			continue
		}
		done, left, failed := a.pruneStage(ctx, owner, batch, o)
		changes, survivors, errs = append(changes, done...), append(survivors, left...), append(errs, failed...)
	}
	return changes, survivors, join(errs)
}

func (a *Applier) pruneStage(ctx context.Context, owner types.NamespacedName, refs []Ref, o PruneOptions) (changes []Change, survivors []Ref, errs []error) {
	kinds := a.findKinds(ctx, refs)
	var mu sync.Mutex
	fanOut(a.options.Concurrency, len(refs), func(i int) {
		r := refs[i]
		action, err := a.pruneOne(ctx, owner, r, kinds[r.GroupVersionKind], o)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			survivors, errs = append(survivors, r), append(errs, &ObjectError{Ref: r, Op: "delete", Err: err})
		}
		if action != "" {
			changes = append(changes, Change{Ref: r, Action: action})
		}
	})
	slices.SortFunc(changes, func(a, b Change) int { return compareRefs(a.Ref, b.Ref) })
	slices.SortFunc(survivors, compareRefs)
	return changes, survivors, errs
}

// found is how a kind of the inventory is served now.
type found struct {
	mapping *meta.RESTMapping // nil: it is not served, or err says why nobody knows
	err     error
}

// place puts a reference where objects of its kind are; false: there are none
// outside namespaces.
func (f found) place(r Ref) (Ref, bool) {
	if f.mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		r.Namespace = ""
		return r, true
	}
	return r, r.Namespace != ""
}

// findKinds finds the kinds of all references.
func (a *Applier) findKinds(ctx context.Context, refs []Ref) map[schema.GroupVersionKind]found {
	kinds := map[schema.GroupVersionKind]found{}
	for _, r := range refs {
		if _, ok := kinds[r.GroupVersionKind]; !ok {
			kinds[r.GroupVersionKind] = a.findServed(ctx, r.GroupVersionKind)
		}
	}
	return kinds
}

// findServed finds a kind in the version given or, when that is not served any
// more, in another. That it is not served at all is believed only from a fresh
// discovery.
func (a *Applier) findServed(ctx context.Context, gvk schema.GroupVersionKind) found {
	m, err := a.mapper.mapping(ctx, gvk)
	if err == nil {
		return found{mapping: m}
	}
	if !errors.Is(err, ErrNoKind) {
		return found{err: err}
	}
	m, err = a.mapper.confirm(ctx, gvk)
	return found{m, err}
}

func (a *Applier) pruneOne(ctx context.Context, owner types.NamespacedName, r Ref, kind found, o PruneOptions) (action string, err error) {
	if kind.mapping == nil {
		return "", kind.err
	}
	r, ok := kind.place(r)
	if !ok {
		return "", nil
	}
	key := drift.KeyOf(r.Namespace, r.Name)
	res := a.client(kind.mapping.Resource, r.Namespace)
	for range 3 { // an object that is made anew meanwhile is looked at again
		live, err := res.Get(ctx, r.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			a.lose(kind.mapping, key)
			if other, ok := r.literal(); ok {
				return a.pruneOne(ctx, owner, other, kind, o)
			}
			return "", a.confirmGone(ctx, r, err)
		case err != nil:
			return "", err
		case a.ownerOf(live) != owner:
			return Skipped, nil
		}
		if live.DeletionTimestamp != nil && o.Wait {
			a.lose(kind.mapping, key)
			return "", &terminatingError{live.Finalizers}
		}
		a.lose(kind.mapping, key) // first: its deletion is no drift
		if marksOf(a.options.OwnerGroup, live.Labels, live.Annotations)&drift.Keep != 0 {
			return Skipped, nil
		}
		background := metav1.DeletePropagationBackground
		err = res.Delete(ctx, r.Name, metav1.DeleteOptions{PropagationPolicy: &background,
			Preconditions: &metav1.Preconditions{UID: &live.UID}})
		switch {
		case apierrors.IsConflict(err):
			continue
		case err != nil && !apierrors.IsNotFound(err):
			return "", err
		case o.Wait:
			return Deleted, stillThere(ctx, res, r.Name, live.UID)
		}
		return Deleted, nil
	}
	return "", errors.New("it is made anew again and again by somebody else")
}

// terminatingError says that an object was deleted and is not gone yet.
type terminatingError struct{ finalizers []string }

func (e *terminatingError) Error() string {
	if len(e.finalizers) == 0 {
		return "it is still being deleted"
	}
	return fmt.Sprintf("it is still being deleted, held by finalizers %q", e.finalizers)
}

// Terminating reports whether all that an error says is that objects are still
// being deleted: those of a Prune, or in an Apply those that are to be made anew.
func Terminating(err error) bool {
	if j := new(joined); errors.As(err, &j) {
		return !slices.ContainsFunc(j.errs, func(err error) bool { return !Terminating(err) })
	}
	return errors.As(err, new(*terminatingError))
}

// stillThere looks once whether a deleted object is gone.
func stillThere(ctx context.Context, res metaClient, name string, uid types.UID) error {
	live, err := res.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && live.UID != uid:
		return nil
	case err != nil:
		return err
	}
	return &terminatingError{live.Finalizers}
}

// confirmGone believes a NotFound at once when it names the object; when it
// says that the whole resource is not there, a fresh discovery has to agree.
func (a *Applier) confirmGone(ctx context.Context, r Ref, err error) error {
	if !noKind(err) {
		return nil
	}
	a.mapper.stale()
	m, cerr := a.mapper.confirm(ctx, r.GroupVersionKind)
	if cerr == nil && m != nil {
		return fmt.Errorf("the API server serves the kind, but not its objects: %w", err)
	}
	return cerr
}

// lose forgets an object that is not ours any more.
func (a *Applier) lose(m *meta.RESTMapping, k drift.Key) {
	a.mu.Lock()
	r := a.resources[m.Resource.GroupResource()]
	a.mu.Unlock()
	if r != nil {
		r.table.Forget(k)
		r.clean(k)
		a.retire(r)
	}
}
