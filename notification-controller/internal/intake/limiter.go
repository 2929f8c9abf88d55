package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxRemembered bounds the events that are remembered, at 80 bytes or so each.
const maxRemembered = 100_000

// fingerprint is equal for events that say the same: of the same object, with
// the same message, about the same revision.
type fingerprint [sha256.Size]byte

func fingerprintOf(e *eventv1.Event) fingerprint {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s))) // keeps "a","bc" apart from "ab","c"
		h.Write(n[:])
		h.Write([]byte(s))
	}
	o := e.InvolvedObject
	part(o.Name)
	part(o.Namespace)
	part(o.Kind)
	part(e.Message)
	group := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).Group
	for _, key := range []string{eventv1.MetaOriginRevisionKey, eventv1.MetaRevisionKey, eventv1.MetaTokenKey} {
		part(e.Metadata[group+"/"+key])
		part(e.Metadata[eventv1.Group+"/"+key])
	}
	return fingerprint(h.Sum(nil))
}

// limiter lets one event of each fingerprint through per interval.
type limiter struct {
	interval time.Duration
	now      func() time.Time

	mu    sync.Mutex
	until map[fingerprint]time.Time
	order []fingerprint // as they came, which is how they expire but for forgotten ones
}

func newLimiter(interval time.Duration, now func() time.Time) *limiter {
	return &limiter{interval: interval, now: now, until: map[fingerprint]time.Time{}}
}

// admit says whether the event is the first of its interval, and remembers it.
func (l *limiter) admit(f fingerprint) bool {
	if l.interval <= 0 {
		return true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	if now.Before(l.until[f]) {
		return false
	}
	l.until[f] = now.Add(l.interval)
	l.order = append(l.order, f)
	return true
}

// forget undoes admit, for an event that could not be kept after all. Its
// place in the order stays until it would have expired.
func (l *limiter) forget(f fingerprint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.until, f)
}

func (l *limiter) expire(now time.Time) {
	for len(l.order) > 0 {
		first := l.order[0]
		if until, known := l.until[first]; known && now.Before(until) && len(l.order) < maxRemembered {
			return
		}
		delete(l.until, first)
		l.order = l.order[1:]
	}
}
