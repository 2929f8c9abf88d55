package build

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"maps"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/weirhq/weir/internal/telemetry"
)

// memo keeps what parts of large builds came to, compressed, within a bound of
// bytes. A commit then costs the parts that it touches. The least recently used
// ones go first.
type memo struct {
	mu    sync.Mutex
	max   int64
	used  int64
	byKey map[key]*list.Element // of *part
	order *list.List            // most recently used first
}

type part struct {
	key  key
	data []byte // the pieces as JSON, by s2
}

// cost is what a part holds, with what it takes to find it.
func (p *part) cost() int64 { return int64(len(p.data)) + 250 }

// parted counts the parts that did not have to be built.
var parted = telemetry.NewCache("build_parts")

func newMemo(max int64) *memo {
	return &memo{max: max, byKey: map[key]*list.Element{}, order: list.New()}
}

// get returns the pieces of a part; nil when they are not known. A nil memo
// knows nothing.
func (m *memo) get(k key) []piece {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	el := m.byKey[k]
	if el == nil {
		m.mu.Unlock()
		parted.Count(false)
		return nil
	}
	m.order.MoveToFront(el)
	packed := el.Value.(*part).data // never written to
	m.mu.Unlock()
	parted.Count(true)
	data, err := s2.Decode(nil, packed)
	var pieces []piece
	if err != nil || json.Unmarshal(data, &pieces) != nil {
		return nil // cannot be: it was packed here
	}
	return pieces
}

func (m *memo) put(k key, pieces []piece) {
	if m == nil {
		return
	}
	data, err := json.Marshal(pieces)
	if err != nil {
		return
	}
	p := &part{key: k, data: slices.Clone(s2.Encode(nil, data))}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byKey[k] != nil || p.cost() > m.max {
		return
	}
	m.byKey[k] = m.order.PushFront(p)
	for m.used += p.cost(); m.used > m.max; {
		last := m.order.Remove(m.order.Back()).(*part)
		delete(m.byKey, last.key)
		m.used -= last.cost()
	}
}

// partKey names all that a part is made of: how it is built, its files, and
// which of them are its own.
func partKey(spec key, w way, tree map[string][]byte, leaves []leaf, own map[int]bool, all []int) key {
	h := sha256.New()
	writeAll(h, spec[:])
	writeFlag(h, w.alone)
	for _, i := range all {
		writeText(h, leaves[i].path)
		writeFlag(h, own[i])
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		writeText(h, name)
		writeText(h, string(tree[name]))
	}
	return key(h.Sum(nil))
}

// writeText writes a text so that no two of them run into each other.
func writeText(h hash.Hash, text string) {
	writeAll(h, binary.LittleEndian.AppendUint64(nil, uint64(len(text))), []byte(text))
}

func writeFlag(h hash.Hash, flag bool) {
	n := byte(0)
	if flag {
		n = 1
	}
	writeAll(h, []byte{n})
}
