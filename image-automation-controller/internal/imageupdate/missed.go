package imageupdate

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// missed remembers the last push of each automation until its status has it. When
// the status could not be written, the next run, which finds nothing to push any
// more, records and tells it. The zero value is ready.
type missed struct {
	mu   sync.Mutex
	last map[types.NamespacedName]result
}

// fill makes a result without a push one of the last push, unless recorded says
// that the status has that.
func (m *missed) fill(key types.NamespacedName, recorded string, r *result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Commit != "" {
		if m.last == nil {
			m.last = map[types.NamespacedName]result{}
		}
		m.last[key] = *r
		return
	}
	last, ok := m.last[key]
	delete(m.last, key)
	if ok && last.Commit != recorded {
		r.Commit, r.Message, r.Branch = last.Commit, last.Message, last.Branch
		m.last[key] = *r
	}
}

func (m *missed) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.last, key)
}
