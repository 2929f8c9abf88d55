package apply

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

// Health is how the objects of an owner are.
type Health struct {
	Pending, Failed []Verdict // sorted by kind, namespace and name
	Ready           int
}

// Verdict is how one object is, and why.
type Verdict struct {
	Ref
	Message string
}

// state of an object's health.
type state uint8

const (
	pending state = iota
	ready
	failed
)

const (
	readGap   = 20 * time.Millisecond // between two reads of one object
	readBlind = 5 * time.Second       // between reads when nothing tells of changes, or after an error
	readPod   = 15 * time.Second      // a Pod fails by waiting: nothing moves then
	readIdle  = time.Minute           // a net below the watch
	readMax   = 30 * time.Second      // for one read in the background
)

// health follows the objects whose owners asked. It reads an object when it is
// first asked about, and again when its metadata moves while it is not ready.
type health struct {
	cluster *Cluster
	queue   workqueue.TypedDelayingInterface[*patient]

	mu    sync.Mutex
	items map[item][]*patient
	of    map[interest]map[item]*patient
}

// interest is what an owner asks about at a time, see Rules.Part.
type interest struct {
	owner types.NamespacedName
	part  string
}

// patient is one owner's interest in one object.
type patient struct {
	ref Ref
	interest
	item    item
	applier *Applier
	gvr     schema.GroupVersionResource
	rule    Rule   // nil: the built-in one
	rules   string // the Rules that rule is from

	// Under health.mu from here on.
	state   state
	message string
	fresh   bool   // it was read at least once
	rv      uint64 // state is from this resource version
	seen    uint64 // the newest one an event named
	last    time.Time
	source  *drift.Source      // the watch of this one object, or nil
	follow  context.CancelFunc // ends it
	dropped bool
}

func (h *health) start(c *Cluster) {
	h.cluster, h.items, h.of = c, map[item][]*patient{}, map[interest]map[item]*patient{}
	h.queue = workqueue.NewTypedDelayingQueue[*patient]()
	context.AfterFunc(c.ctx, h.queue.ShutDown)
	for range c.options.Concurrency {
		go h.work()
	}
}

// moved reports that the metadata of an object moved. It never blocks and costs
// one map lookup for objects that nobody asked about.
func (h *health) moved(it item, m *metav1.PartialObjectMetadata) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.items[it] {
		rv := p.seen + 1 // a listing without the object
		if m != nil {
			if n, err := strconv.ParseUint(m.ResourceVersion, 10, 64); err == nil {
				rv = n
			}
		}
		p.seen = max(p.seen, rv)
		if p.fresh && p.state != ready && p.seen > p.rv {
			h.queue.AddAfter(p, max(0, readGap-time.Since(p.last)))
		}
	}
}

func (h *health) work() {
	for {
		p, stop := h.queue.Get()
		if stop {
			return
		}
		h.safely(p)
		h.queue.Done(p)
	}
}

// safely rereads; a panic, which a strange object may cause, costs its own verdict only.
func (h *health) safely(p *patient) {
	defer func() {
		if cause := recover(); cause != nil {
			h.cluster.options.Log.Error(nil, "panic while judging health", "object", p.ref.String(), "panic", cause)
		}
	}()
	h.reread(p)
}

// reread reads an object that was not ready and tells its owner when it has
// failed, or when it was the last one to become ready, of those that had failed
// as well.
func (h *health) reread(p *patient) {
	h.mu.Lock()
	before, idle := p.state, p.dropped || p.state == ready
	h.mu.Unlock()
	if idle {
		return
	}
	ctx, cancel := context.WithTimeout(h.cluster.ctx, readMax)
	defer cancel()
	h.read(ctx, p)
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.dropped || p.state == pending || p.state == before {
		return
	}
	if p.state == ready {
		for _, other := range h.of[p.interest] {
			if other.state != ready {
				return
			}
		}
	}
	h.cluster.tell(p.owner, 0)
}

// read reads an object and notes how it is.
func (h *health) read(ctx context.Context, p *patient) {
	h.mu.Lock()
	before, rule, rules, applier := p.seen, p.rule, p.rules, p.applier
	p.last = time.Now()
	h.mu.Unlock()
	st, message, rv, again := applier.examine(ctx, p, rule)
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.rules != rules {
		return // whoever changed them reads it again
	}
	p.state, p.message, p.rv, p.fresh = st, message, max(rv, before), true
	if p.dropped {
		return
	}
	switch {
	case st == ready, again == 0: // nothing to wait for, or no right to look
		p.unfollow()
		return
	case p.seen > p.rv:
		again = readGap
	case st == failed:
		again = max(again, readIdle)
	}
	h.queue.AddAfter(p, again)
}

func (p *patient) unfollow() {
	if p.follow != nil {
		p.follow()
		p.follow, p.source = nil, nil
	}
}

// Health tells how objects are, by what is known of them; only objects that
// were not asked about before, or that moved since, are read. It does not wait:
// from now on the owner is notified when one of those that are not ready fails,
// and when the last of them is ready, those that had failed included. Objects
// that are not in refs are not followed any more for this owner; a nil refs ends
// all interest.
//
// What "ready" means is kstatus', but a Job has to complete. An object that
// does not exist is pending, unless it is a Job that deletes itself when done.
func (a *Applier) Health(ctx context.Context, owner types.NamespacedName, refs []Ref) (Health, error) {
	return a.HealthBy(ctx, owner, refs, Rules{})
}

// HealthBy is Health with rules of the owner's own for some kinds.
func (a *Applier) HealthBy(ctx context.Context, owner types.NamespacedName, refs []Ref, rules Rules) (Health, error) {
	if a.broken != nil {
		return Health{}, a.broken
	}
	var out Health
	var asked, unread []*patient
	asking := interest{owner, rules.Part}
	keep, kinds := map[item]bool{}, a.findKinds(ctx, refs)
	for _, r := range refs {
		kind := kinds[r.GroupVersionKind]
		if kind.err != nil {
			return Health{}, &ObjectError{Ref: r, Op: "discovery", Err: kind.err}
		}
		if kind.mapping == nil {
			out.Pending = append(out.Pending, Verdict{r, "the API server does not know this kind"})
			a.tell(owner, readBlind)
			continue
		}
		r, ok := kind.place(r)
		if !ok {
			out.Failed = append(out.Failed, Verdict{r, "objects of this kind have a namespace, and none is given"})
			continue
		}
		it := item{kind.mapping.Resource.GroupResource(), drift.KeyOf(r.Namespace, r.Name)}
		covered := a.covered(it, owner)
		rule := rules.of(r.GroupKind())
		if rule == nil && covered == asApplied && statusless[r.GroupKind()] {
			out.Ready++
			continue
		}
		keep[it] = true
		p, read := a.health.ask(a, asking, r, it, kind.mapping.Resource, covered, rule, rules.ID)
		if asked = append(asked, p); read {
			unread = append(unread, p)
		}
	}
	a.health.keep(asking, keep)
	fanOut(a.options.Concurrency, len(unread), func(i int) { a.health.read(ctx, unread[i]) })
	if err := ctx.Err(); err != nil {
		return Health{}, err
	}
	a.health.sum(&out, asked)
	return out, nil
}

// sum adds up what is known.
func (h *health) sum(out *Health, asked []*patient) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range asked {
		switch p.state {
		case ready:
			out.Ready++
		case failed:
			out.Failed = append(out.Failed, Verdict{p.ref, p.message})
		case pending:
			out.Pending = append(out.Pending, Verdict{p.ref, p.message})
		}
	}
	byRef := func(a, b Verdict) int { return compareRefs(a.Ref, b.Ref) }
	slices.SortFunc(out.Pending, byRef)
	slices.SortFunc(out.Failed, byRef)
}

// coverage says what the watch of applied objects knows of one.
type coverage uint8

const (
	unseen    coverage = iota // its events do not come by themselves
	watched                   // its events come
	asApplied                 // and it exists as it was applied
)

// covered is about what an owner may know: that somebody else's object exists is
// for the API server to say.
func (c *Cluster) covered(it item, owner types.NamespacedName) coverage {
	c.mu.Lock()
	r := c.resources[it.GroupResource]
	c.mu.Unlock()
	if r == nil || r.blind() {
		return unseen
	}
	row, ok := r.table.Row(it.Key)
	switch {
	case !ok:
		return unseen
	case row.Applied && row.Owner == number(owner) && r.dirty(it.Key) == nil:
		return asApplied
	}
	return watched
}

// ask registers an owner's interest in an object. read is true when what is
// known of it is out of date.
func (h *health) ask(a *Applier, asking interest, r Ref, it item, gvr schema.GroupVersionResource, c coverage, rule Rule, rules string) (p *patient, read bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p = h.of[asking][it]
	if p == nil {
		p = &patient{ref: r, interest: asking, item: it, gvr: gvr}
		if h.of[asking] == nil {
			h.of[asking] = map[item]*patient{}
		}
		h.of[asking][it] = p
		h.items[it] = append(h.items[it], p)
	}
	p.applier = a
	if p.rules != rules {
		p.state, p.fresh = pending, false
	}
	p.rule, p.rules = rule, rules
	followed := p.follow != nil
	if c == unseen && !followed && p.state != ready {
		h.followOne(a, p)
	}
	return p, !p.fresh || p.seen > p.rv || c == unseen && !followed
}

// followOne watches a single object, with the rights of the one who asks.
func (h *health) followOne(a *Applier, p *patient) {
	var ctx context.Context
	ctx, p.follow = context.WithCancel(h.cluster.ctx)
	p.source = drift.NewSource(drift.Options{Client: a.client(p.gvr, p.ref.Namespace), GVR: p.gvr,
		FieldSelector: "metadata.name=" + p.ref.Name, Table: drift.NewTable(a.policy()),
		Handle: func(ev drift.Event) { h.moved(p.item, ev.Object) }})
	go p.source.Run(ctx)
}

// keep ends the interest in all other objects.
func (h *health) keep(asking interest, keep map[item]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(asking, keep)
}

func (h *health) drop(asking interest, keep map[item]bool) {
	for it, p := range h.of[asking] {
		if keep[it] {
			continue
		}
		p.dropped = true
		p.unfollow()
		delete(h.of[asking], it)
		h.items[it] = slices.DeleteFunc(h.items[it], func(q *patient) bool { return q == p })
		if len(h.items[it]) == 0 {
			delete(h.items, it)
		}
	}
	if len(h.of[asking]) == 0 {
		delete(h.of, asking)
	}
}

func (h *health) forget(owner types.NamespacedName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for asking := range h.of {
		if asking.owner == owner {
			h.drop(asking, nil)
		}
	}
}

// followed reports whether the events of an object come by a watch of its own.
func (h *health) followed(it item) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.items[it], func(p *patient) bool {
		return p.source != nil && p.source.State() != drift.Blind && p.source.State() != drift.NoKind
	})
}
