// Package proxytest runs an HTTP proxy inside a test's process: it forwards plain
// requests and opens tunnels, as RFC 9110 describes them in section 9.3.6, to
// whoever has the credentials, and remembers where they led.
package proxytest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// Options say how a Proxy serves. The zero value lets everybody through.
type Options struct {
	Username, Password string // asked for when the name is set
	// Forward answers plain requests in place of the hosts that they are for; nil
	// passes them on.
	Forward http.Handler
}

// Proxy is a running proxy. It is safe for concurrent use.
type Proxy struct {
	URL string // without credentials

	o     Options
	mu    sync.Mutex
	hosts []string
}

// Start starts a proxy for the time of the test.
func Start(t testing.TB, o Options) *Proxy {
	t.Helper()
	if o.Forward == nil {
		o.Forward = &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	}
	p := &Proxy{o: o}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// Address is the URL with the credentials in it.
func (p *Proxy) Address(t testing.TB) *url.URL {
	t.Helper()
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	if p.o.Username != "" {
		u.User = url.UserPassword(p.o.Username, p.o.Password)
	}
	return u
}

// Hosts lists where plain requests and tunnels led, as "host:port" or "host", in the
// order in which they came.
func (p *Proxy) Hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.hosts)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	login := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	if user, password, _ := login.BasicAuth(); user != p.o.Username || password != p.o.Password {
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnel(w, r)
		return
	}
	p.note(r.Host)
	p.o.Forward.ServeHTTP(w, r)
}

func (p *Proxy) note(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts = append(p.hosts, host)
}

// tunnel joins the connection with one to the host that was asked for.
func (p *Proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	server, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	p.note(r.Host)
	// A header that says nothing: clients have to read on to the end of them.
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\nX-Proxy: test\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, buffered)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
}
