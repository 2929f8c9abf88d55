package gitrepo

// State is what a Pool holds.
type State struct {
	Mirrors     int   `json:"mirrors"`
	InUse       int   `json:"inUse"`
	Bytes       int64 `json:"bytes"`
	MaxMirrors  int   `json:"maxMirrors"`
	MaxBytes    int64 `json:"maxBytes"`
	Connections int   `json:"connections"` // ways to connect: pairs of proxy and TLS settings
}

// State returns what the pool holds now.
func (p *Pool) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{Mirrors: len(p.entries), MaxMirrors: p.o.MaxMirrors, MaxBytes: p.o.MaxBytes, Connections: len(p.transports)}
	for _, e := range p.entries {
		s.Bytes += e.bytes
		if e.users > 0 {
			s.InUse++
		}
	}
	return s
}
