package build

import (
	"container/list"
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/weirhq/weir/internal/artifact"
)

// engineVersion is part of each cache key. It changes with whatever changes the
// output for the same input: this package, kustomize, the YAML libraries.
const engineVersion = "weir 1, kustomize/api v0.21.1, kyaml v0.21.1"

type key [sha256.Size]byte

// key names everything but the tree that a build depends on. Values of variables
// are in it as part of a hash only.
func (s *Spec) key(forbidRemote bool) key {
	// Maps are encoded with sorted keys. Nothing in Spec fails to encode.
	data, _ := json.Marshal(struct {
		Version string
		Forbid  bool
		Spec    *Spec
	}{engineVersion, forbidRemote, s})
	return sha256.Sum256(data)
}

// maxStates bounds the outcomes under one key: the present state of the source
// and the one before, for a commit that is reverted.
const maxStates = 2

// cache keeps outcomes within a bound of bytes, dropping the least recently used
// ones. Under one key there may be several, of different states of the source.
type cache struct {
	mu    sync.Mutex
	max   int64
	used  int64
	keys  map[key]*list.List // of *list.Element of order, most recently used first
	order *list.List         // of *entry, most recently used first
	// sealed holds, by scope, the key of its builds that were decrypted: what is
	// remembered may not outlive the keys it was made with.
	sealed map[string]key
}

type entry struct {
	key  key
	out  *outcome
	cost int64
	at   *list.Element // in the list of its key
}

func newCache(max int64) *cache {
	return &cache{max: max, keys: map[key]*list.List{}, order: list.New(), sealed: map[string]key{}}
}

// seal says under which key the builds of a scope are from now on, and whether
// they are decrypted. Decrypted ones under a former key are dropped.
func (c *cache) seal(scope string, k key, decrypted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	former, ok := c.sealed[scope]
	if same := c.keys[former]; ok && former != k && same != nil {
		for n := same.Len(); n > 0; n-- {
			c.drop(same.Back().Value.(*list.Element))
		}
	}
	delete(c.sealed, scope)
	if decrypted {
		c.sealed[scope] = k
	}
}

// get returns the outcome whose every recorded answer t still gives, and whose
// URLs still stand for the same.
func (c *cache) get(k key, t *artifact.Tree, same func([]farFact) bool) (*outcome, bool) {
	for _, e := range c.candidates(k) {
		if !e.out.read.holds(t) || !same(e.out.far) {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if same, ok := c.keys[k]; ok && e.at != nil {
			same.MoveToFront(e.at)
			c.order.MoveToFront(e.at.Value.(*list.Element))
		}
		return e.out, true
	}
	return nil, false
}

func (c *cache) candidates(k key) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	same, ok := c.keys[k]
	if !ok {
		return nil
	}
	out := make([]*entry, 0, same.Len())
	for el := same.Front(); el != nil; el = el.Next() {
		out = append(out, el.Value.(*list.Element).Value.(*entry))
	}
	return out
}

// put keeps an outcome. One that is larger than an eighth of the bound is not
// kept: it would push out many, and costs little in comparison when it is built
// again for a change.
func (c *cache) put(k key, out *outcome) {
	e := &entry{key: k, out: out, cost: out.cost()}
	if e.cost > c.max/8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if sealed, ok := c.sealed[out.scope]; out.decrypted && (!ok || sealed != k) {
		return // its keys were taken away while it was built
	}
	same, ok := c.keys[k]
	if !ok {
		same = list.New()
		c.keys[k] = same
	}
	e.at = same.PushFront(c.order.PushFront(e))
	c.used += e.cost
	if same.Len() > maxStates {
		c.drop(same.Back().Value.(*list.Element))
	}
	for c.used > c.max {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	same := c.keys[e.key]
	same.Remove(e.at)
	if same.Len() == 0 {
		delete(c.keys, e.key)
	}
	e.at = nil
	c.used -= e.cost
}

// cost estimates the bytes an outcome holds.
func (o *outcome) cost() int64 {
	n := int64(300) // entry, lists, map
	for i := range o.objects {
		n += int64(len(o.objects[i].JSON)+len(o.objects[i].Name)) + 120
	}
	for i := range o.read {
		n += int64(len(o.read[i].path)) + 72
		if o.read[i].real != o.read[i].path {
			n += int64(len(o.read[i].real))
		}
	}
	for _, f := range o.far {
		n += int64(len(f.url)+len(f.id)) + 32
	}
	if o.err != nil {
		n += int64(len(o.err.Error()))
	}
	return n
}
