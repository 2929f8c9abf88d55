package issuer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// maxPage bounds a description or a set of keys, in bytes.
	maxPage = 1 << 20
	// maxPages bounds the pages that are remembered.
	maxPages = 2 * maxIssuers
	// fresh is how long an answer, good or bad, stands for the next requests.
	fresh = 10 * time.Second
	// timeout bounds one request.
	timeout = 5 * time.Second
)

// newClient returns a client that reads pages of issuers. It follows no
// redirect, and reaches no link-local address: URLs of issuers are what
// tenants write, and a page that is read says something even when it is no
// set of keys.
func newClient(o Options) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		ip := at.Addr().Unmap()
		if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip.IsLoopback() && !o.Loopback {
			return errors.New("issuers are not looked for at this address")
		}
		return nil
	}}
	return &http.Client{
		Transport: &reader{
			now:   o.Now,
			pages: map[string]*page{},
			base: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
				TLSHandshakeTimeout: timeout, MaxIdleConns: 10, IdleConnTimeout: time.Minute,
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reader is a transport for pages: requests for one at the same time share one
// answer, and so do those of the next seconds.
type reader struct {
	now  func() time.Time
	base http.RoundTripper

	mu    sync.Mutex
	pages map[string]*page
}

// page is an answer, once done is closed.
type page struct {
	done  chan struct{}
	since time.Time
	body  []byte
	err   error
}

// RoundTrip implements http.RoundTripper. Its errors are ErrUnreachable.
func (r *reader) RoundTrip(req *http.Request) (*http.Response, error) {
	p := r.page(req)
	select {
	case <-p.done:
	case <-req.Context().Done():
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, req.Context().Err())
	}
	if p.err != nil {
		return nil, p.err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(p.body)), ContentLength: int64(len(p.body)),
	}, nil
}

// page returns the answer for a URL, which may be under way.
func (r *reader) page(req *http.Request) *page {
	key, now := req.URL.String(), r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pages[key]; p != nil && now.Sub(p.since) < fresh {
		return p
	}
	for other, p := range r.pages {
		if len(r.pages) >= maxPages || now.Sub(p.since) >= fresh {
			delete(r.pages, other)
		}
	}
	p := &page{done: make(chan struct{}), since: now}
	r.pages[key] = p
	go func() {
		defer close(p.done)
		p.body, p.err = r.read(context.WithoutCancel(req.Context()), req)
	}()
	return p
}

func (r *reader) read(ctx context.Context, req *http.Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := r.base.RoundTrip(req.Clone(ctx))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not answer", ErrUnreachable, req.URL.Host)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answered %d", ErrUnreachable, req.URL.Host, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err != nil || len(body) > maxPage {
		return nil, fmt.Errorf("%w: the answer of %s breaks off, or is larger than 1 MiB", ErrUnreachable, req.URL.Host)
	}
	return body, nil
}
