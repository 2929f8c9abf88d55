package gitrepo

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/proxytest"
)

// join copies both ways until one side ends.
func join(a, b io.ReadWriteCloser) {
	go func() {
		_, _ = io.Copy(a, b)
		a.Close()
	}()
	_, _ = io.Copy(b, a)
	b.Close()
}

// connectProxy is an HTTP proxy for anna; it counts its tunnels.
func connectProxy(t *testing.T) (*url.URL, func() int) {
	t.Helper()
	p := proxytest.Start(t, proxytest.Options{Username: "anna", Password: "proxy-password"})
	return p.Address(t), func() int { return len(p.Hosts()) }
}

// socksProxy is a SOCKS5 proxy (RFC 1928, 1929) for anna that counts its tunnels.
func socksProxy(t *testing.T) (*url.URL, func() int) {
	t.Helper()
	n := &atomic.Int64{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go socks(c, n)
		}
	}()
	return &url.URL{Scheme: "socks5", Host: l.Addr().String()}, func() int { return int(n.Load()) }
}

func socks(c net.Conn, n *atomic.Int64) {
	defer c.Close()
	read := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(c, b)
		return b
	}
	read(int(read(2)[1]))                     // methods
	_, _ = c.Write([]byte{5, 2})              // user and password
	user := string(read(int(read(2)[1])))     // version, length
	password := string(read(int(read(1)[0]))) // length
	if user != "anna" || password != "proxy-password" {
		_, _ = c.Write([]byte{1, 1})
		return
	}
	_, _ = c.Write([]byte{1, 0})
	host := ""
	switch read(4)[3] {
	case 1:
		host = net.IP(read(4)).String()
	case 3:
		host = string(read(int(read(1)[0])))
	}
	server, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(read(2))))))
	if err != nil {
		_, _ = c.Write([]byte{5, 1, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	n.Add(1)
	_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, server)
}

func TestThroughProxies(t *testing.T) {
	t.Parallel()
	key, authorized, err := gitserver.NewIdentity("")
	must(t, err)
	s := serve(t, gitserver.Options{SSH: true, AuthorizedKeys: [][]byte{authorized}})
	for kind, start := range map[string]func(*testing.T) (*url.URL, func() int){"http": connectProxy, "socks5": socksProxy} {
		t.Run(kind, func(t *testing.T) {
			through, n := start(t)
			auth := Auth{Identity: key, KnownHosts: s.KnownHosts(), Proxy: through}
			p := pool(t, Options{})
			through.User = url.UserPassword("anna", "wrong-password")
			_, err := open(t, p, s.SSHURL(name), auth).Poll(t.Context(), Ref{Branch: "main"})
			if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrAuth) || strings.Contains(err.Error(), "wrong-password") || !strings.Contains(err.Error(), "proxy") {
				t.Errorf("a wrong password: %v", err)
			}
			through.User = url.UserPassword("anna", "proxy-password")
			r := open(t, p, s.SSHURL(name), auth)
			fetch(t, r, poll(t, r, Ref{Branch: "main"}))
			if n() == 0 {
				t.Error("nothing went through the proxy")
			}
			if kind == "socks5" { // over HTTP too
				before := n()
				r := open(t, p, s.URL(name), Auth{Proxy: through})
				poll(t, r, Ref{Branch: "main"})
				if n() == before {
					t.Error("HTTP did not go through the proxy")
				}
			}
		})
	}
}

// A proxy that lies or hangs ends in an error in time.
func TestHostileProxies(t *testing.T) {
	t.Parallel()
	key, _, err := gitserver.NewIdentity("")
	must(t, err)
	known := []byte("git.test ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")
	for title, answer := range map[string]func(net.Conn){
		"hangs": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"endless": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X: y\r\n"); err != nil {
					return
				}
			}
		},
		"hangs up": func(net.Conn) {},
		"speaks no SSH": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"refuses": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
	} {
		for _, scheme := range []string{"http", "socks5"} {
			t.Run(title+" "+scheme, func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				must(t, err)
				defer l.Close()
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						go func() {
							defer c.Close()
							answer(c)
						}()
					}
				}()
				r := open(t, pool(t, Options{}), "ssh://git@git.test/app", Auth{Identity: key, KnownHosts: known, Proxy: &url.URL{Scheme: scheme, Host: l.Addr().String()}})
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				if _, err := r.Poll(ctx, Ref{Branch: "main"}); !errors.Is(err, ErrUnreachable) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}
