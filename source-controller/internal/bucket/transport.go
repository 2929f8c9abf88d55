package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	maxAnswer = 16 << 20 // bytes of an answer that is no object
	maxBusy   = time.Hour
)

// busy is the error of requests while the storage asks to be left alone.
type busy struct{ after time.Duration }

func (b *busy) Error() string {
	return fmt.Sprintf("the storage asks to wait for %s", b.after.Round(time.Second))
}

// guard bounds what answers may hold and remembers when to come back.
type guard struct {
	base *http.Transport

	mu    sync.Mutex
	until time.Time
}

// material is what TLS works with, in PEM.
type material struct {
	CA, Cert, Key []byte
}

// newClient returns a client that follows no redirect, so that credentials go to
// the configured host only.
func newClient(m material, proxy *url.URL) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.CA != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(m.CA) {
			return nil, fmt.Errorf("%w: the key \"ca.crt\" holds no certificate in PEM", errAuth)
		}
	}
	if m.Cert != nil {
		pair, err := tls.X509KeyPair(m.Cert, m.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: the keys \"tls.crt\" and \"tls.key\": %w", errAuth, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	choose := http.ProxyFromEnvironment
	if proxy != nil {
		choose = http.ProxyURL(proxy)
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &guard{base: &http.Transport{
			Proxy: choose, TLSClientConfig: config, ForceAttemptHTTP2: true,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
			MaxIdleConnsPerHost: downloads, MaxResponseHeaderBytes: 64 << 10,
			DisableCompression: true, // the stored bytes are wanted
		}},
	}, nil
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	wait := time.Until(g.until)
	g.mu.Unlock()
	if wait > 0 {
		return nil, &busy{wait}
	}
	resp, err := g.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		if after, ok := retryAfter(resp.Header.Get("Retry-After")); ok {
			resp.Body.Close()
			g.mu.Lock()
			g.until = time.Now().Add(after)
			g.mu.Unlock()
			return nil, &busy{after}
		}
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: limitOf(r.Context())}
	return resp, nil
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
		return max(n, maxAnswer)
	}
	return maxAnswer
}

// bounded fails instead of reading on and on.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: its bytes are %w", errAnswer, errLimit)
	}
	return n, err
}
