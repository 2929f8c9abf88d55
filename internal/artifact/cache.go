package artifact

import (
	"container/list"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// cache holds unpacked artifacts by digest. Their content lies in files that have
// no name: they are unlinked as soon as they are made, so a crash leaves nothing
// behind and a wiped folder takes nothing away. What is in use is never dropped;
// the rest goes, the longest unused first, when there is more than limit bytes or
// maxItems artifacts.
type cache struct {
	limit    int64
	maxItems int

	mu    sync.Mutex
	items map[string]*item
	idle  list.List // of *item that nobody holds; the longest unused at the front
	bytes int64
}

// item is one unpacked artifact.
type item struct {
	digest string
	root   *dir
	file   *os.File
	size   int64 // bytes of file

	cache   *cache
	holders int           // guarded by cache.mu
	idle    *list.Element // in cache.idle; nil while somebody holds it
}

// hold is one Tree's share in an item.
type hold struct {
	item   *item
	closed atomic.Bool
}

// get returns a tree on the artifact of the given digest, or nil if it is not here.
func (c *cache) get(digest string) *Tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.items[digest]; it != nil {
		return it.tree()
	}
	return nil
}

// add puts an artifact in and returns a tree on it. If another came first, that
// one stays and it is dropped.
func (c *cache) add(it *item) *Tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.items[it.digest]; first != nil {
		it.file.Close()
		return first.tree()
	}
	it.cache = c
	c.items[it.digest] = it
	c.bytes += it.size
	t := it.tree()
	c.evict()
	return t
}

// tree takes a hold. The caller has the lock.
func (it *item) tree() *Tree {
	it.holders++
	if it.idle != nil {
		it.cache.idle.Remove(it.idle)
		it.idle = nil
	}
	return &Tree{root: rooted(it.root), hold: &hold{item: it}}
}

// evict drops what nobody holds until the bounds are kept. The caller has the lock.
func (c *cache) evict() {
	for c.bytes > c.limit || len(c.items) > c.maxItems {
		front := c.idle.Front()
		if front == nil {
			return
		}
		it := c.idle.Remove(front).(*item)
		delete(c.items, it.digest)
		c.bytes -= it.size
		it.file.Close()
	}
}

func (h *hold) release() {
	if h.closed.Swap(true) {
		return
	}
	c := h.item.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.item.holders--; h.item.holders == 0 {
		h.item.idle = c.idle.PushBack(h.item)
		c.evict()
	}
}

func (h *hold) readAt(p []byte, off int64) error {
	if h == nil || h.closed.Load() {
		return fs.ErrClosed
	}
	if len(p) == 0 {
		return nil
	}
	_, err := h.item.file.ReadAt(p, off)
	return err
}

// scratch returns a file below folder that has no name any more. The folder is
// made when it is not there.
func scratch(folder string) (*os.File, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the artifact cache: %w", pathless(err))
	}
	f, err := os.CreateTemp(folder, "scratch-")
	if err != nil {
		return nil, fmt.Errorf("make a file in the artifact cache: %w", pathless(err))
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("make a file in the artifact cache: %w", pathless(err))
	}
	return f, nil
}

// sweep removes what a crash between making and unlinking a file can leave.
func sweep(folder string) {
	left, _ := filepath.Glob(filepath.Join(folder, "scratch-*"))
	for _, p := range left {
		os.Remove(p)
	}
}
