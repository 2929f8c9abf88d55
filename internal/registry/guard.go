package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrTooLarge is wrapped when an answer has more bytes than allowed.
var ErrTooLarge = errors.New("the registry's answer has more than the allowed number of bytes")

// guard bounds what answers may hold and remembers when to come back.
type guard struct {
	base  *http.Transport
	plain bool   // HTTP without TLS is allowed
	id    string // of the host and credential
	pages *pages

	mu    sync.Mutex
	until time.Time
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.plain {
		return nil, fmt.Errorf("%q is not asked over plain HTTP: set spec.insecure to allow it", r.URL.Host)
	}
	if wait := g.wait(); wait > 0 {
		return nil, &Busy{After: wait} // also for those who were on their way when it said so
	}
	trip := g.base.RoundTrip
	if listsTags(r) {
		trip = g.conditional
	}
	resp, err := trip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		if after, ok := retryAfter(resp.Header.Get("Retry-After")); ok {
			g.mu.Lock()
			g.until = time.Now().Add(after)
			g.mu.Unlock()
		}
	}
	left := int64(maxBody) // of what explains an error
	if resp.StatusCode < http.StatusMultipleChoices {
		left = limitOf(r.Context())
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: left}
	return resp, nil
}

func (g *guard) wait() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.until), 0)
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

type limitKey struct{}

// limited allows the answers within ctx n bytes.
func limited(ctx context.Context, n int64) context.Context {
	return context.WithValue(ctx, limitKey{}, n)
}

func limitOf(ctx context.Context) int64 {
	if n, ok := ctx.Value(limitKey{}).(int64); ok {
		return n
	}
	return maxBody
}

// onThisMachine tells whether a registry can be reached over the loopback
// interface only, so that nobody can listen.
func onThisMachine(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bounded fails instead of reading on and on.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, ErrTooLarge
	}
	return n, err
}
