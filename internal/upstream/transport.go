package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ErrTooLarge is wrapped when an answer has more bytes than allowed.
var ErrTooLarge = errors.New("the answer is larger than allowed")

const (
	defaultAnswer = 16 << 20 // bytes
	maxHeader     = 64 << 10 // bytes
	maxConns      = 128      // to one host at once, by one transport
)

// Options of a Transport. The zero value is usable.
type Options struct {
	TLS       Material
	BesideCA  bool      // TLS.CA is trusted beside the system's authorities, not in their place
	Proxy     *url.URL  // nil: as the environment says
	Who       string    // stands for the credentials that requests carry
	Patience  *Patience // shared by transports that ask the same servers; nil for one of its own
	Conns     int       // idle connections kept to a host; 0 means 16
	MaxAnswer int64     // bytes of an answer, unless Limited allows a success others; 0 means 16 MiB
}

// Transport is an http.RoundTripper that keeps connections, bounds what answers may
// hold and asks no server before the time that it named. Its errors are *Busy and
// those of the connection; reading an answer can end with ErrTooLarge. Bodies come
// as they are sent, compressed or not.
type Transport struct {
	base      *http.Transport
	patience  *Patience
	who       string
	maxAnswer int64
}

// New returns a Transport. An error is about o.TLS.
func New(o Options) (*Transport, error) {
	config, err := o.TLS.Config()
	if err != nil {
		return nil, err
	}
	if o.BesideCA && o.TLS.CA != nil {
		if pool, err := x509.SystemCertPool(); err == nil {
			pool.AppendCertsFromPEM(o.TLS.CA)
			config.RootCAs = pool
		}
	}
	choose := http.ProxyFromEnvironment
	if o.Proxy != nil {
		choose = http.ProxyURL(o.Proxy)
	}
	t := &Transport{patience: o.Patience, who: o.Who, maxAnswer: o.MaxAnswer, base: &http.Transport{
		Proxy: choose, TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: o.Conns, MaxConnsPerHost: maxConns, MaxResponseHeaderBytes: maxHeader,
		DisableCompression: true,
	}}
	if t.patience == nil {
		t.patience = &Patience{}
	}
	if t.maxAnswer <= 0 {
		t.maxAnswer = defaultAnswer
	}
	if t.base.MaxIdleConnsPerHost <= 0 {
		t.base.MaxIdleConnsPerHost = 16
	}
	return t, nil
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.patience.Ask(t.who, r.URL.Host); err != nil {
		return nil, err
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := t.patience.Note(t.who, r.URL.Host, resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	limit := t.maxAnswer // of what explains an error
	if n, ok := r.Context().Value(limitKey{}).(int64); ok && resp.StatusCode < http.StatusMultipleChoices {
		limit = n
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: limit, limit: limit}
	return resp, nil
}

// Busy returns a *Busy while host wants to be left alone, and nil otherwise.
func (t *Transport) Busy(host string) error { return t.patience.Ask(t.who, host) }

// CloseIdleConnections is found by http.Client.
func (t *Transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

type limitKey struct{}

// Limited allows successful answers to requests within ctx n bytes.
func Limited(ctx context.Context, n int64) context.Context {
	return context.WithValue(ctx, limitKey{}, n)
}

// bounded fails instead of reading on and on.
type bounded struct {
	io.ReadCloser
	left, limit int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = 0
		return 0, fmt.Errorf("%w: %d bytes are", ErrTooLarge, b.limit)
	}
	return n, err
}

// Identify returns a text that stands for secret ones, to tell credentials apart
// without keeping them.
func Identify(parts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return hex.EncodeToString(sum[:])
}
