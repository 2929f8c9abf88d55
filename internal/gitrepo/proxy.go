package gitrepo

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/proxy"
)

// dialTimeout bounds the connection to a server or proxy.
const dialTimeout = 30 * time.Second

// dialControl looks at an address before it is dialled, see net.Dialer.
type dialControl func(network, address string, c syscall.RawConn) error

// control keeps foreign servers from being of this machine. With a proxy, that one
// decides.
func (o *Options) control(a Auth) dialControl {
	if !a.Foreign || o.AllowLocal || a.Proxy != nil {
		return nil
	}
	return func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		host, _, _ = strings.Cut(host, "%") // the zone
		ip := net.ParseIP(host)
		if ip == nil || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
			return fmt.Errorf("a repository may not name a server of this machine or of its link: %s", host)
		}
		return nil
	}
}

// checkProxy refuses proxies that nothing here can go through.
func checkProxy(u *url.URL) error {
	if u == nil {
		return nil
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		if u.Hostname() != "" {
			return nil
		}
	}
	return fmt.Errorf("%w: the proxy's address is no http, https or socks5 URL", ErrURL)
}

// dialSSH connects to an SSH server: through the proxy, or as ALL_PROXY and NO_PROXY
// of the environment say, which know SOCKS5 only.
func dialSSH(ctx context.Context, through *url.URL, addr string, control dialControl) (net.Conn, error) {
	direct := &net.Dialer{Timeout: dialTimeout, Control: control}
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	if through == nil {
		return dialWith(ctx, proxy.FromEnvironmentUsing(direct), addr)
	}
	if through.Scheme == "http" || through.Scheme == "https" {
		return tunnel(ctx, direct, through, addr)
	}
	var login *proxy.Auth
	if through.User != nil {
		password, _ := through.User.Password()
		login = &proxy.Auth{User: through.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", proxyAddress(through, "1080"), login, direct)
	if err != nil {
		return nil, err
	}
	conn, err := dialWith(ctx, d, addr)
	if err != nil {
		return nil, fmt.Errorf("through the proxy: %w", err)
	}
	return conn, nil
}

func dialWith(ctx context.Context, d proxy.Dialer, addr string) (net.Conn, error) {
	if c, ok := d.(proxy.ContextDialer); ok {
		return c.DialContext(ctx, "tcp", addr)
	}
	return nil, errors.New("the proxy cannot be given up on") // none of the library's is like that
}

func proxyAddress(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// tunnel asks an HTTP proxy to connect (RFC 9110, 9.3.6).
func tunnel(ctx context.Context, d *net.Dialer, through *url.URL, addr string) (_ net.Conn, err error) {
	port := "80"
	if through.Scheme == "https" {
		port = "443"
	}
	conn, err := d.DialContext(ctx, "tcp", proxyAddress(through, port))
	if err != nil {
		return nil, fmt.Errorf("reaching the proxy: %w", err)
	}
	if through.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: through.Hostname(), MinVersion: tls.VersionTLS12})
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			conn.Close()
		}
	}()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{"User-Agent": {userAgent}}}
	if u := through.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("asking the proxy: %w", err)
	}
	// The answer ends with an empty line, and what follows is the server's: it is
	// read byte by byte, so that nothing of that is lost.
	head := &limited{r: oneByte{conn}, n: 16 << 10}
	resp, err := http.ReadResponse(bufio.NewReaderSize(head, 1), req) //nolint:bodyclose // that of a tunnel is the connection
	if err != nil {
		return nil, fmt.Errorf("the proxy's answer: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return nil, fmt.Errorf("%w: the proxy answers %q", ErrAuth, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the proxy answers %q", resp.Status)
	}
	return conn, nil
}

// oneByte reads no more than it is asked for at the least.
type oneByte struct{ r io.Reader }

// Read implements io.Reader.
func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(len(b), 1)]) }
