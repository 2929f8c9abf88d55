package apply

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/go-logr/logr"
	"github.com/weirhq/weir/internal/apply/drift"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
)

// Options of a Cluster.
type Options struct {
	// FieldManager names our applies. Default "kustomize-controller".
	FieldManager string
	// OwnerGroup is the prefix of the owner labels and of the annotations that
	// are heeded. Default "kustomize.toolkit.fluxcd.io".
	OwnerGroup string
	// Concurrency is how many objects of one Apply, Prune or Health are asked
	// about at the same time. Default 4.
	Concurrency int
	// OverrideManagers are prefixes of field managers that may not own anything
	// on our objects, besides kubectl's and before-first-apply.
	OverrideManagers []string
	// StageKinds are applied in a stage of their own, after the classes.
	StageKinds []schema.GroupKind
	// MigrateVersions moves the entries of managedFields to the version that an
	// object is applied in when the API server cannot apply it otherwise, because
	// a newer version has fields with defaults that theirs has not.
	MigrateVersions bool
	// MayTake decides whether an object that the labels give to another owner is
	// taken from it. Default: yes, as the field's peers do.
	MayTake func(ref Ref, current, wanted types.NamespacedName) bool
	// Notify is told the owner of objects that drifted or whose health changed.
	// It must not block. Nil: nobody is told.
	Notify func(owner types.NamespacedName)
	Log    logr.Logger
}

// Cluster is one API server: its watches and what is known of the objects that
// were applied. It is safe for concurrent use.
type Cluster struct {
	options Options
	config  *rest.Config
	http    *http.Client
	mapper  *mapper
	watcher metadata.Interface // the controller's own identity; reads metadata only
	ctx     context.Context
	stop    context.CancelFunc
	notices workqueue.TypedDelayingInterface[types.NamespacedName]
	health  health

	mu        sync.Mutex
	appliers  map[string]*Applier
	resources map[schema.GroupResource]*resource
	owners    map[uint32]types.NamespacedName // those that applied something
	sets      map[uint32]uint64               // by owner: names the members of its last Set
	fights    map[item]fight
}

// item identifies an object across resources.
type item struct {
	schema.GroupResource
	drift.Key
}

// NewCluster returns a cluster that watches nothing yet. The configuration's
// own limits on the rate of requests are switched off: the API server has
// priority and fairness. Close it after use.
func NewCluster(cfg *rest.Config, o Options) (*Cluster, error) {
	if o.FieldManager == "" {
		o.FieldManager = "kustomize-controller"
	}
	if o.OwnerGroup == "" {
		o.OwnerGroup = "kustomize.toolkit.fluxcd.io"
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.RateLimiter = -1, nil
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, config: cfg, http: h, appliers: map[string]*Applier{},
		resources: map[schema.GroupResource]*resource{}, owners: map[uint32]types.NamespacedName{},
		sets: map[uint32]uint64{}, fights: map[item]fight{},
		notices: workqueue.NewTypedDelayingQueue[types.NamespacedName]()}
	if c.mapper, err = newMapper(cfg); err != nil {
		return nil, err
	}
	if c.watcher, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), h); err != nil {
		return nil, err
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.health.start(c)
	go c.notify()
	return c, nil
}

// Close ends the watches and everything else that runs.
func (c *Cluster) Close() {
	c.stop()
	c.notices.ShutDown()
}

// Applier is a cluster seen with the rights of one user.
type Applier struct {
	*Cluster
	meta   metadata.Interface
	full   dynamic.Interface
	broken error // why there are no clients; every method returns it
}

// As returns the applier that acts as a user, for instance
// "system:serviceaccount:tenant:deployer"; "" is the cluster's own identity.
func (c *Cluster) As(user string) *Applier {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.appliers[user]; a != nil {
		return a
	}
	a := &Applier{Cluster: c}
	cfg, h := c.config, c.http
	if user != "" {
		cfg = rest.CopyConfig(cfg)
		cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
		if h, a.broken = rest.HTTPClientFor(cfg); a.broken != nil {
			return a
		}
	}
	if a.meta, a.broken = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), h); a.broken != nil {
		return a
	}
	if a.full, a.broken = dynamic.NewForConfigAndClient(dynamic.ConfigFor(cfg), h); a.broken != nil {
		return a
	}
	if len(c.appliers) == maxAppliers { // tenants come and go; who is still here is made again
		clear(c.appliers)
	}
	c.appliers[user] = a
	return a
}

// maxAppliers bounds the users whose clients are kept.
const maxAppliers = 1000

// policy is how this cluster's objects are fingerprinted.
func (c *Cluster) policy() drift.Policy {
	return drift.Policy{Manager: c.options.FieldManager, Strip: c.strip,
		Owner: func(m *metav1.PartialObjectMetadata) uint32 { return number(c.ownerOf(m)) },
		Marks: func(m *metav1.PartialObjectMetadata) drift.Marks {
			marks := marksOf(c.options.OwnerGroup, m.Labels, m.Annotations)
			if leftovers(m) {
				marks |= drift.Strip
			}
			return marks
		}}
}

// strip matches what kubectl writes, what is left of objects made before
// server-side apply, and a plain update under our own name. Entries of
// subresources (kubectl scale, status editors) are left alone: their fields
// cannot be pruned by applying the main resource.
func (c *Cluster) strip(e metav1.ManagedFieldsEntry) bool {
	if e.Subresource != "" {
		return false
	}
	if e.Operation == metav1.ManagedFieldsOperationUpdate &&
		(e.Manager == c.options.FieldManager || strings.HasPrefix(e.Manager, "before-first-apply")) {
		return true
	}
	return strings.HasPrefix(e.Manager, "kubectl") ||
		slices.ContainsFunc(c.options.OverrideManagers, func(p string) bool {
			return p != "" && e.Manager != c.options.FieldManager && strings.HasPrefix(e.Manager, p)
		})
}

// ownerOf reads the owner labels; the zero name when there are none.
func (c *Cluster) ownerOf(m *metav1.PartialObjectMetadata) types.NamespacedName {
	return types.NamespacedName{Namespace: m.Labels[c.options.OwnerGroup+"/namespace"], Name: m.Labels[c.options.OwnerGroup+"/name"]}
}

// number returns an owner as a number, a hash; 0 is nobody. Labels that anyone
// can write are never kept: only owners that applied something have their name
// in Cluster.owners.
func number(owner types.NamespacedName) uint32 {
	if owner.Name == "" {
		return 0
	}
	return max(1, uint32(xxhash.Sum64String(owner.String())))
}

// enlist makes the name behind an owner's number known.
func (c *Cluster) enlist(owner types.NamespacedName) uint32 {
	n := number(owner)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owners[n] = owner
	return n
}

// owner returns the name behind a number, if that owner applied something.
func (c *Cluster) owner(n uint32) (types.NamespacedName, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, ok := c.owners[n]
	return name, ok
}

// tell lets the owner know after a delay; many reasons become one notice.
func (c *Cluster) tell(owner types.NamespacedName, after time.Duration) {
	if c.options.Notify != nil && owner.Name != "" {
		c.notices.AddAfter(owner, after)
	}
}

func (c *Cluster) notify() {
	for {
		owner, stop := c.notices.Get()
		if stop {
			return
		}
		c.notices.Done(owner) // first: what happens from here on is news
		c.options.Notify(owner)
	}
}

// Drifted returns the objects of an owner that the watch has marked and that no
// Apply has put right yet. An object found missing by a full listing, after the
// watch had been away for long, has no name.
func (c *Cluster) Drifted(owner types.NamespacedName) []Ref {
	n := number(owner)
	var refs []Ref
	for _, r := range c.snapshot() {
		refs = append(refs, r.marked(n)...)
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

// Blind reports whether changes of an object's kind cannot be seen, because the
// watch is forbidden, not served, or was never started: its owner has to set
// Recheck at its interval. It asks nobody.
func (c *Cluster) Blind(r Ref) bool {
	m := c.mapper.remembered(r.GroupVersionKind)
	if m == nil {
		return true
	}
	c.mu.Lock()
	res := c.resources[m.Resource.GroupResource()]
	c.mu.Unlock()
	if res == nil {
		return true
	}
	st := res.source.State()
	return st == drift.Blind || st == drift.NoKind || st == drift.Starting
}

// Forget drops everything that is known of an owner's objects; nothing in the
// cluster changes.
func (c *Cluster) Forget(owner types.NamespacedName) {
	n := number(owner)
	c.mu.Lock()
	delete(c.owners, n)
	delete(c.sets, n)
	c.mu.Unlock()
	for _, r := range c.snapshot() {
		r.forget(func(_ drift.Key, row drift.Row) bool { return row.Owner == n })
		c.retire(r)
	}
	c.health.forget(owner)
}

func (c *Cluster) snapshot() []*resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*resource, 0, len(c.resources))
	for _, r := range c.resources {
		all = append(all, r)
	}
	return all
}
