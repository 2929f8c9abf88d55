package apply

import (
	"cmp"
	"slices"

	"github.com/weirhq/weir/internal/apply/drift"
)

// maxShown bounds the watches that State names.
const maxShown = 200

// Watch is what State shows of the watch of one resource.
type Watch struct {
	Resource string      `json:"resource"`
	State    drift.State `json:"state"`
	Objects  int         `json:"objects"`
	Applied  int         `json:"applied"` // of them, by this controller
	Drifted  int         `json:"drifted"` // of them, not corrected yet
}

// State says what is known of a cluster.
type State struct {
	Owners  int     `json:"owners"`
	Users   int     `json:"users"` // whose rights are applied with
	Fights  int     `json:"fights"`
	Watches []Watch `json:"watches"`
	More    int     `json:"more,omitempty"` // watches that are not shown
}

// State returns what is known now, the largest watches first.
func (c *Cluster) State() State {
	resources := c.snapshot()
	c.mu.Lock()
	s := State{Owners: len(c.owners), Users: len(c.appliers), Fights: len(c.fights)}
	c.mu.Unlock()
	for _, r := range resources {
		w := Watch{Resource: r.mapping.Resource.GroupResource().String(), State: r.source.State()}
		w.Objects, w.Applied = r.table.Len()
		r.mu.Lock()
		w.Drifted = len(r.dirt)
		r.mu.Unlock()
		s.Watches = append(s.Watches, w)
	}
	slices.SortFunc(s.Watches, func(a, b Watch) int {
		return cmp.Or(cmp.Compare(b.Objects, a.Objects), cmp.Compare(a.Resource, b.Resource))
	})
	if len(s.Watches) > maxShown {
		s.Watches, s.More = s.Watches[:maxShown], len(s.Watches)-maxShown
	}
	return s
}
