package upstream

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	maxBusy  = time.Hour // the longest that a server may ask for
	maxHosts = 4_096     // that are remembered at once
)

// Busy is the error of a server that asked to be left alone for a while.
type Busy struct {
	Host  string
	After time.Duration
}

// Error implements error. It has no duration in it: the same failure reads the same.
func (b *Busy) Error() string {
	return fmt.Sprintf("%q asks to be left alone for a while (too many requests)", b.Host)
}

// Patience remembers until when servers want to be left alone. The zero value is
// ready; it is safe for concurrent use.
type Patience struct {
	mu    sync.Mutex
	until map[place]time.Time
}

// place is a server as somebody sees it.
type place struct{ who, host string }

// busy returns an error while the server is to be left alone.
func (p *Patience) busy(at place) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := time.Until(p.until[at])
	if wait <= 0 {
		return nil
	}
	return &Busy{Host: at.host, After: wait}
}

// note returns an error if the answer asks for time, and remembers it.
func (p *Patience) note(at place, resp *http.Response) error {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return nil
	}
	after, ok := retryAfter(resp.Header.Get("Retry-After"))
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.until) >= maxHosts {
		for known, until := range p.until {
			if time.Until(until) <= 0 {
				delete(p.until, known)
			}
		}
	}
	if p.until == nil {
		p.until = map[place]time.Time{}
	}
	if len(p.until) < maxHosts {
		p.until[at] = time.Now().Add(after)
	}
	return &Busy{Host: at.host, After: after}
}

// retryAfter reads the header of RFC 9110, section 10.2.3.
func retryAfter(header string) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return min(time.Duration(min(seconds, 1<<20))*time.Second, maxBusy), true
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(time.Until(at), 0), maxBusy), true
	}
	return 0, false
}
