package chartindex

import (
	"container/list"
	"io"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

const (
	defaultItems = 16 // indexes that are kept when nothing is said
	readers      = 2  // indexes that are parsed at once
)

// Cache keeps indexes by the digest of their bytes. However many ask for one, it is
// parsed once. It is safe for concurrent use.
type Cache struct {
	items   int
	ttl     time.Duration
	reading chan struct{}

	mu   sync.Mutex
	byID map[string]*cached
	used *list.List // of *cached, the last used first
}

type cached struct {
	id    string
	ready chan struct{} // closed when index and err are set
	index *Index
	err   error
	last  time.Time
	at    *list.Element
}

// NewCache returns a Cache of the given number of indexes, 16 for 0, each of which
// is forgotten when nobody asked for it during ttl; 0 means never.
func NewCache(items int, ttl time.Duration) *Cache {
	if items <= 0 {
		items = defaultItems
	}
	return &Cache{items: items, ttl: ttl, byID: map[string]*cached{}, used: list.New(), reading: make(chan struct{}, readers)}
}

// Get returns the index with the given digest, which open reads when it is not
// known. Failures are not kept.
func (c *Cache) Get(digest string, open func() (io.ReadCloser, error)) (*Index, error) {
	c.mu.Lock()
	entry, found := c.byID[digest]
	requests.Count(found)
	if !found {
		entry = &cached{id: digest, ready: make(chan struct{})}
		entry.at = c.used.PushFront(entry)
		c.byID[digest] = entry
	}
	entry.last = time.Now()
	c.used.MoveToFront(entry.at)
	for c.used.Len() > c.items {
		c.remove(c.used.Back().Value.(*cached))
	}
	c.mu.Unlock()
	if found {
		<-entry.ready
		return entry.index, entry.err
	}
	defer func() {
		close(entry.ready)
		if entry.err != nil || entry.index == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.remove(entry)
		}
	}()
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	entry.index, entry.err = read(open)
	return entry.index, entry.err
}

func read(open func() (io.ReadCloser, error)) (*Index, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	x, err := Parse(r)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// Purge forgets what was not asked for during the time to live.
func (c *Cache) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.ttl > 0 && c.used.Len() > 0 {
		last := c.used.Back().Value.(*cached)
		if time.Since(last.last) < c.ttl {
			return
		}
		c.remove(last)
	}
}

func (c *Cache) remove(entry *cached) {
	if c.byID[entry.id] == entry {
		delete(c.byID, entry.id)
		c.used.Remove(entry.at)
	}
}

// Add keeps an index that was parsed elsewhere.
func (c *Cache) Add(digest string, x *Index) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.byID[digest]; found {
		return
	}
	entry := &cached{id: digest, ready: make(chan struct{}), index: x, last: time.Now()}
	close(entry.ready)
	entry.at = c.used.PushFront(entry)
	c.byID[digest] = entry
	for c.used.Len() > c.items {
		c.remove(c.used.Back().Value.(*cached))
	}
}

// requests counts what did not have to be parsed.
var requests = telemetry.NewCache("helm_indexes")

// State is what a Cache holds.
type State struct {
	Indexes int `json:"indexes"`
	Max     int `json:"max"`
}

// State returns what the cache holds now.
func (c *Cache) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return State{Indexes: len(c.byID), Max: c.items}
}
