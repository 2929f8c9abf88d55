package provider

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// dialTimeout bounds connecting and handshakes.
const dialTimeout = 10 * time.Second

// maxReceived bounds what is read of one connection, in bytes. Whoever takes
// events has little to say, and the libraries read what they are sent.
const maxReceived = 1 << 20

// quietConn is a connection on which little is received.
type quietConn struct {
	net.Conn
	left atomic.Int64
}

// Read implements net.Conn.
func (q *quietConn) Read(p []byte) (int, error) {
	left := q.left.Load()
	if left <= 0 {
		return 0, errors.New("the server sends too much")
	}
	n, err := q.Conn.Read(p[:min(int64(len(p)), left)])
	q.left.Add(-int64(n))
	return n, err
}

// dial opens a connection to host:port, through the HTTP proxy of the Provider
// if it has one. It is for protocols other than HTTP; a proxy of the
// environment is for HTTP alone. At most maxReceived bytes are read of it.
func (t *Target) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := t.dialAny(ctx, address)
	if err != nil {
		return nil, err
	}
	q := &quietConn{Conn: conn}
	q.left.Store(maxReceived)
	return q, nil
}

func (t *Target) dialAny(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := &net.Dialer{}
	if t.Proxy == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	conn, err := dialer.DialContext(ctx, "tcp", withPort(t.Proxy))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", t.Proxy.Host, err)
	}
	stop := context.AfterFunc(ctx, closing(conn))
	defer stop()
	if t.Proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: t.Proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	if err := connect(conn, t.Proxy, address); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// closing closes this connection, whatever the caller wraps it in meanwhile.
func closing(conn net.Conn) func() { return func() { conn.Close() } }

// connect asks a proxy for a tunnel (RFC 9110, section 9.3.6).
func connect(conn net.Conn, proxy *url.URL, address string) error {
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{"User-Agent": {userAgent}}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		r.Header.Set("Proxy-Authorization", basic(u.Username(), password))
	}
	if err := r.Write(conn); err != nil {
		return fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	// One byte at a time: what follows the answer belongs to the tunnel.
	resp, err := http.ReadResponse(bufio.NewReaderSize(&byteReader{conn: conn, left: maxAnswer}, 16), r) //nolint:bodyclose // its body is the tunnel
	if err != nil {
		return fmt.Errorf("proxy %s: no answer that can be read", proxy.Host)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("proxy %s: answered %d %s", proxy.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return nil
}

// byteReader reads single bytes, as many as are left.
type byteReader struct {
	conn net.Conn
	left int
}

// Read implements io.Reader.
func (b *byteReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("%w: the answer is too long", ErrInvalid)
	}
	b.left--
	return b.conn.Read(p[:1])
}

func withPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "https" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return net.JoinHostPort(u.Hostname(), "80")
}
