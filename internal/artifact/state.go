package artifact

import "github.com/weirhq/weir/internal/telemetry"

// FetcherState is what a Fetcher holds.
type FetcherState struct {
	Artifacts int   `json:"artifacts"` // unpacked
	Idle      int   `json:"idle"`      // of them, held by nobody
	Bytes     int64 `json:"bytes"`
	MaxBytes  int64 `json:"maxBytes"`
	Fetching  int   `json:"fetching"`
}

// State returns what the fetcher holds now.
func (f *Fetcher) State() FetcherState {
	f.mu.Lock()
	fetching := len(f.flights)
	f.mu.Unlock()
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	return FetcherState{
		Artifacts: len(f.cache.items), Idle: f.cache.idle.Len(), Bytes: f.cache.bytes, MaxBytes: f.cache.limit, Fetching: fetching,
	}
}

// StoreState is what a Store holds.
type StoreState struct {
	Packed      int   `json:"packed"` // trees whose archive is kept
	Bytes       int64 `json:"bytes"`  // of these archives
	Unpublished int   `json:"unpublished"`
}

// State returns what the store holds now.
func (s *Store) State() StoreState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := StoreState{Packed: len(s.packs), Unpublished: len(s.pins)}
	counted := map[string]bool{}
	for _, b := range s.packs {
		if !counted[b.Digest] {
			counted[b.Digest] = true
			out.Bytes += b.Size
		}
	}
	return out
}

// Requests for artifacts that were unpacked already, and for trees that were
// packed already.
var requests, packRequests = telemetry.NewCache("artifacts"), telemetry.NewCache("packs")
