package receiver

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// burst is how many seconds' worth of calls may come at once.
	burst = 5
	// maxLimits bounds the Receivers whose calls are counted.
	maxLimits = 10_000
)

// limits bounds how often the webhook of each Receiver is answered.
type limits struct {
	rate float64 // calls a second; 0 is without end

	mu    sync.Mutex
	calls map[types.UID]*rate.Limiter
}

// wait says how long the caller should wait; 0 takes the call.
func (l *limits) wait(id types.UID) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.calls[id]
	if calls == nil {
		if l.calls == nil || len(l.calls) >= maxLimits {
			l.calls = map[types.UID]*rate.Limiter{}
		}
		calls = rate.NewLimiter(rate.Limit(l.rate), max(1, int(burst*l.rate)))
		l.calls[id] = calls
	}
	now := time.Now()
	r := calls.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait
	}
	return 0
}
