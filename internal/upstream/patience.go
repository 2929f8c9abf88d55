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
	// A server that answers "too many requests" and not for how long is left alone
	// for minWait, then for twice as long each time, up to maxWait. It begins anew
	// when a server did not do that for as long as it was left alone.
	minWait, maxWait = 10 * time.Second, 10 * time.Minute
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
	until map[place]rest
}

// rest is how long a server is left alone.
type rest struct {
	until time.Time
	wait  time.Duration // of our own making; zero when the server named the time
}

// place is a server as somebody sees it.
type place struct{ who, host string }

// Ask returns a *Busy while the host is to be left alone by who, which stands for
// credentials, and nil otherwise.
func (p *Patience) Ask(who, host string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := time.Until(p.until[place{who, host}].until)
	if wait <= 0 {
		return nil
	}
	return &Busy{Host: host, After: wait}
}

// Note returns a *Busy if what the host has answered who asks for time, and remembers
// it.
func (p *Patience) Note(who, host string, resp *http.Response) error {
	at := place{who, host}
	after, named := retryAfter(resp.Header.Get("Retry-After"))
	tooMany := resp.StatusCode == http.StatusTooManyRequests
	if !tooMany && (resp.StatusCode != http.StatusServiceUnavailable || !named) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := rest{until: time.Now().Add(after)}
	if !named {
		last := p.until[at]
		ago := time.Since(last.until)
		if ago < 0 { // others were answered before
			return &Busy{Host: host, After: -ago}
		}
		after = minWait
		if ago <= last.wait {
			after = min(max(2*last.wait, minWait), maxWait)
		}
		r = rest{until: time.Now().Add(after), wait: after}
	}
	p.remember(at, r)
	return &Busy{Host: host, After: after}
}

// remember makes room for one more. Servers beyond the bound are asked as if they had
// not said anything.
func (p *Patience) remember(at place, r rest) {
	if len(p.until) >= maxHosts {
		for known, r := range p.until {
			if time.Until(r.until) <= 0 {
				delete(p.until, known)
			}
		}
	}
	if p.until == nil {
		p.until = map[place]rest{}
	}
	if _, known := p.until[at]; known || len(p.until) < maxHosts {
		p.until[at] = r
	}
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
