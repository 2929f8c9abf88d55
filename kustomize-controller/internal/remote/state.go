package remote

import "github.com/weirhq/weir/internal/apply"

// maxShown bounds the clusters that State shows.
const maxShown = 50

// State says which clusters are open. Their addresses and credentials stay out.
type State struct {
	Open     int           `json:"open"`
	Users    int           `json:"users"`
	Clusters []apply.State `json:"clusters"`
}

// State returns what is open now.
func (c *Clusters) State() State {
	c.mu.Lock()
	s := State{Open: len(c.open), Users: len(c.users)}
	var shown []*apply.Cluster
	for _, cl := range c.open {
		if len(shown) == maxShown {
			break
		}
		shown = append(shown, cl.Cluster)
	}
	c.mu.Unlock()
	for _, cl := range shown {
		s.Clusters = append(s.Clusters, cl.State())
	}
	return s
}
