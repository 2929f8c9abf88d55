package apply

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// plan is a Set with what is known of its kinds.
type plan struct {
	a       *Applier
	set     Set
	owner   uint32
	refs    []Ref // of set.Objects
	kinds   map[schema.GroupVersionKind]*resource
	held    []*resource
	defines map[schema.GroupKind]bool // kinds whose definition is in the Set
	items   map[item]bool
	began   time.Time
}

func newPlan(a *Applier, set Set) *plan {
	p := &plan{a: a, set: set, owner: a.enlist(set.Owner), began: time.Now(), refs: make([]Ref, len(set.Objects)),
		kinds: map[schema.GroupVersionKind]*resource{}, defines: map[schema.GroupKind]bool{},
		items: make(map[item]bool, len(set.Objects))}
	for i := range set.Objects {
		o := &set.Objects[i]
		p.refs[i] = Ref{o.GVK, o.Namespace, o.Name}
		if isCRD(o.GVK) {
			p.defines[definedKind(o)] = true
		}
	}
	return p
}

// definedKind returns the kind that a definition defines.
func definedKind(o *build.Object) schema.GroupKind {
	var crd struct {
		Spec struct {
			Group string
			Names struct{ Kind string }
		}
	}
	_ = json.Unmarshal(o.JSON, &crd) // what cannot be read defines nothing; the API server says why
	return schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
}

func (p *plan) inventory() []Ref { return append([]Ref(nil), p.refs...) }

func (p *plan) release() {
	for _, r := range p.held {
		p.a.release(r)
	}
}

// stage returns the tasks of a stage, with what each needs.
func (p *plan) stage(ctx context.Context, st stage) (tasks []*task, errs []error) {
	for i := range p.set.Objects {
		if p.a.stageOf(p.set.Objects[i].GVK) != st {
			continue
		}
		t, err := p.task(ctx, i)
		if err != nil {
			errs = append(errs, &ObjectError{Ref: p.refs[i], Op: "discovery", Err: err})
			continue
		}
		tasks = append(tasks, t)
	}
	return tasks, errs
}

func (p *plan) task(ctx context.Context, i int) (*task, error) {
	o := &p.set.Objects[i]
	r, err := p.resource(ctx, o.GVK)
	if err != nil {
		return nil, err
	}
	ref := &p.refs[i]
	switch namespaced := r.mapping.Scope.Name() == meta.RESTScopeNameNamespace; {
	case namespaced && ref.Namespace == "":
		return nil, &fieldError{"namespace not specified: set metadata.namespace, or the Kustomization's spec.targetNamespace"}
	case !namespaced:
		ref.Namespace = ""
	}
	t := &task{object: o, ref: *ref, owner: p.set.Owner, resource: r, key: drift.KeyOf(ref.Namespace, ref.Name),
		ignored: p.set.Ignore.of(o), change: Change{Ref: *ref}}
	t.sum = sumWith(sumOf(o, p.set.Owner), t.ignored)
	if it := r.item(t.key); p.items[it] {
		return nil, &fieldError{"the object is in the source twice"}
	} else {
		p.items[it] = true
	}
	t.keepOwners = p.set.KeepOwners
	t.defined = p.defines[o.GVK.GroupKind()]
	t.row, t.known = r.table.Row(t.key)
	t.dirt = r.dirty(t.key)
	wants := p.a.marksOfObject(o)
	t.force = p.set.Force || (wants|t.row.Marks)&drift.Recreate != 0
	t.recheck = p.set.Recheck || r.blind()
	t.step = decide(situation{wants: wants, row: t.row, known: t.known, sum: t.sum, dirt: t.dirt, recheck: t.recheck,
		report: p.set.ReportDrift, former: p.set.Former, now: time.Now()})
	return t, nil
}

// resource returns the resource of a kind. A kind whose definition was applied
// a moment ago is waited for.
func (p *plan) resource(ctx context.Context, gvk schema.GroupVersionKind) (*resource, error) {
	if r, ok := p.kinds[gvk]; ok {
		if r == nil {
			return nil, ErrNoKind
		}
		return r, nil
	}
	find := p.a.mapper.mapping
	if p.defines[gvk.GroupKind()] {
		find = p.a.mapper.await
	}
	m, err := find(ctx, gvk)
	if err != nil {
		if errors.Is(err, ErrNoKind) {
			p.kinds[gvk] = nil // asked once for all objects of the kind
		}
		return nil, err
	}
	r := p.a.hold(m)
	p.kinds[gvk], p.held = r, append(p.held, r)
	if p.defines[gvk.GroupKind()] {
		r.source.Wake() // it may have been waiting for the kind to come back
	}
	r.settle(ctx, p.began.Add(settleTimeout))
	return r, nil
}

// finish forgets what the owner's former Set had and this one has not.
func (p *plan) finish() {
	var members uint64
	for it := range p.items {
		members += uint64(it.Key) ^ xxhash.Sum64String(it.Group+"/"+it.Resource)
	}
	p.a.mu.Lock()
	former, ok := p.a.sets[p.owner]
	p.a.sets[p.owner] = members
	p.a.mu.Unlock()
	if ok && former == members {
		return
	}
	for _, r := range p.a.snapshot() {
		r.forget(func(k drift.Key, row drift.Row) bool { return row.Owner == p.owner && !p.items[r.item(k)] })
		p.a.retire(r)
	}
}
