package apply

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// resource is one kind of object: what is known of the objects, the watch, and
// the marks on those that are not as they were applied.
type resource struct {
	cluster *Cluster
	mapping *meta.RESTMapping
	table   *drift.Table
	source  *drift.Source
	stop    context.CancelFunc
	users   int // under Cluster.mu: Applies that hold it now

	mu   sync.Mutex
	dirt map[drift.Key]*dirt
}

// dirt marks an object that has to be applied again.
type dirt struct {
	ref     Ref
	owner   uint32
	verdict drift.Verdict
	manager string
	fight   bool
	due     time.Time                     // not before
	live    *metav1.PartialObjectMetadata // for Foreign and Taken, else nil
	found   *finding                      // with Set.ReportDrift
}

// hold returns the resource of a mapping, followed from now on, and keeps it
// until release.
func (c *Cluster) hold(m *meta.RESTMapping) *resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	gr := m.Resource.GroupResource()
	r := c.resources[gr]
	if r != nil && r.mapping.Resource != m.Resource && r.source.State() == drift.NoKind {
		r.stop() // the version that was followed is not served any more
		r = nil
	}
	if r == nil {
		r = &resource{cluster: c, mapping: m, table: drift.NewTable(c.policy()), dirt: map[drift.Key]*dirt{}}
		r.source = drift.NewSource(drift.Options{Client: c.watcher.Resource(m.Resource), GVR: m.Resource,
			LabelSelector: c.options.OwnerGroup + "/name", Table: r.table, Handle: r.handle,
			OnState: func(s drift.State, err error) {
				c.options.Log.V(1).Info("watch of applied objects", "resource", m.Resource.String(), "state", string(s), "error", err)
			}})
		var ctx context.Context
		ctx, r.stop = context.WithCancel(c.ctx)
		go r.source.Run(ctx)
		c.resources[gr] = r
	}
	r.users++
	return r
}

// release gives a resource back.
func (c *Cluster) release(r *resource) {
	c.mu.Lock()
	r.users--
	c.mu.Unlock()
	c.retire(r)
}

// retire ends a watch that nobody needs any more.
func (c *Cluster) retire(r *resource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	needed := func(row drift.Row) bool { _, ok := c.owners[row.Owner]; return ok }
	if gr := r.mapping.Resource.GroupResource(); r.users == 0 && c.resources[gr] == r && !r.table.Any(needed) {
		r.stop()
		delete(c.resources, gr)
	}
}

// settle waits until the watch has listed everything, so that objects applied
// by a former process are known; a listing that takes long is not waited for.
func (r *resource) settle(ctx context.Context, until time.Time) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-r.source.Settled():
	}
}

// blind reports whether drift goes unseen.
func (r *resource) blind() bool {
	st := r.source.State()
	return st == drift.Blind || st == drift.NoKind
}

func (r *resource) item(k drift.Key) item {
	return item{r.mapping.Resource.GroupResource(), k}
}

// handle takes an event of the watch. It does not block.
func (r *resource) handle(ev drift.Event) {
	r.cluster.health.moved(r.item(ev.Key), ev.Object)
	switch {
	case ev.Verdict == drift.Excused:
		r.clean(ev.Key)
	case ev.Verdict.NeedsWrite():
		r.mark(ev)
	}
}

// mark notes that an object has to be applied again and tells its owner. The
// first repairs are asked for at once; in a fight they are put off. A deletion
// that the object brought on itself, and a peer that has taken the object, wait
// for the owner's next turn.
func (r *resource) mark(ev drift.Event) {
	row, ok := r.table.Row(ev.Key)
	if !ok {
		return
	}
	owner, ours := r.cluster.owner(row.Owner)
	if !ours && !row.Applied {
		return // nobody here would ever put it right
	}
	wait := r.cluster.fightPause(r.item(ev.Key))
	d := &dirt{ref: Ref{GroupVersionKind: r.mapping.GroupVersionKind}, owner: row.Owner,
		verdict: ev.Verdict, fight: wait > 0, due: time.Now().Add(wait)}
	if m := ev.Object; m != nil {
		d.ref.Namespace, d.ref.Name = strings.Clone(m.Namespace), strings.Clone(m.Name)
		if ev.Verdict != drift.Gone {
			d.manager = strings.Clone(r.table.Policy.Blame(m))
		}
		if ev.Verdict == drift.Foreign || ev.Verdict == drift.Taken {
			d.live = m
		}
	}
	r.mu.Lock()
	r.dirt[ev.Key] = d
	r.mu.Unlock()
	if ours && ev.Verdict != drift.Taken && (ev.Verdict != drift.Gone || !row.Expires) {
		r.cluster.tell(owner, wait)
	}
}

// dirty returns the mark on an object, or nil.
func (r *resource) dirty(k drift.Key) *dirt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dirt[k]
}

// clean removes the mark on an object.
func (r *resource) clean(k drift.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.dirt, k)
}

// marked returns the marked objects of an owner.
func (r *resource) marked(owner uint32) (refs []Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.dirt {
		if d.owner == owner {
			refs = append(refs, d.ref)
		}
	}
	return refs
}

// forget drops the rows for which drop is true, and their marks.
func (r *resource) forget(drop func(drift.Key, drift.Row) bool) {
	for _, k := range r.table.ForgetIf(drop) {
		r.clean(k)
	}
}

// client returns the resource as an applier sees it, in a namespace or, with
// "", in the whole cluster.
func (a *Applier) client(gvr schema.GroupVersionResource, namespace string) metaClient {
	return a.meta.Resource(gvr).Namespace(namespace)
}
