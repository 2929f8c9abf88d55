package build

import "github.com/weirhq/weir/internal/telemetry"

// State is what an Engine remembers.
type State struct {
	Builds    int   `json:"builds"`
	Bytes     int64 `json:"bytes"`
	MaxBytes  int64 `json:"maxBytes"`
	Parts     int   `json:"parts"` // of large builds
	PartBytes int64 `json:"partBytes"`
	Decrypted int   `json:"decrypted"` // scopes whose builds are dropped with their keys
}

// State returns what is remembered now.
func (e *Engine) State() State {
	e.cache.mu.Lock()
	defer e.cache.mu.Unlock()
	e.memo.mu.Lock()
	defer e.memo.mu.Unlock()
	return State{Builds: e.cache.order.Len(), Bytes: e.cache.used, MaxBytes: e.cache.max, Decrypted: len(e.cache.sealed),
		Parts: e.memo.order.Len(), PartBytes: e.memo.used}
}

// requests counts what did not have to be built.
var requests = telemetry.NewCache("builds")
