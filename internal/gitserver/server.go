// Package gitserver runs a real Git server inside the process: smart HTTP
// through `git http-backend`, and SSH through `git upload-pack` and
// `git receive-pack`. It is what tests and the local demo talk to; no
// controller imports it. The machine must have git.
package gitserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// Options says how a Server serves.
type Options struct {
	// Root is the folder below which the bare repositories lie. Empty means a
	// temporary folder that Close removes.
	Root string
	// Addr is where HTTP listens; empty means a free port of 127.0.0.1.
	Addr string
	// SSHAddr is where SSH listens; empty means a free port of 127.0.0.1.
	SSHAddr string

	// Username and Password, when either is set, are asked for with basic
	// authentication. Bearer, when set, is accepted as a bearer token.
	Username, Password, Bearer string

	// TLS serves HTTPS with a certificate signed by CA().
	TLS bool
	// ClientTLS asks for a client certificate signed by CA(), see ClientCert.
	ClientTLS bool

	// SSH also serves SSH; AuthorizedKeys are lines of an authorized_keys file.
	SSH            bool
	AuthorizedKeys [][]byte

	// V0 hides protocol v2, as old servers do.
	V0 bool
	// TipsOnly refuses a commit by hash that is no tip of a ref. Git enforces
	// that in protocol v0 only.
	TipsOnly bool

	// OnPush is called after each receive-pack has ended with the name of the
	// repository, whether or not the push was accepted.
	OnPush func(repo string)
	// Middleware wraps the HTTP handler, to inject faults; may be nil.
	Middleware func(http.Handler) http.Handler
}

// Server is a running server. All methods may be called at the same time.
type Server struct {
	o       Options
	root    string
	scheme  string
	http    *http.Server
	web     net.Listener
	shell   net.Listener
	certs   *certificates
	hostKey ssh.Signer

	ctx    context.Context // ends at Close, and with it the processes of SSH
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // one writer of repositories at a time
	counter counter
}

// Start starts a server. The caller closes it.
func Start(o Options) (_ *Server, err error) {
	if gitErr != nil {
		return nil, fmt.Errorf("the git server needs git on the machine: %w", gitErr)
	}
	s := &Server{o: o, root: o.Root, scheme: "http"}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.root == "" {
		if s.root, err = os.MkdirTemp("", "weir-git-"); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		return nil, err
	}
	if s.certs, err = newCertificates(); err != nil {
		return nil, err
	}
	if err := s.startHTTP(); err != nil {
		return nil, err
	}
	if o.SSH {
		return s, s.startSSH()
	}
	return s, nil
}

func (s *Server) startHTTP() error {
	handler, err := s.handler()
	if err != nil {
		return err
	}
	if s.web, err = listen(s.o.Addr, &s.counter); err != nil {
		return err
	}
	s.http = &http.Server{Handler: handler}
	if s.o.TLS || s.o.ClientTLS {
		s.scheme = "https"
		s.http.TLSConfig = s.certs.server(s.o.ClientTLS)
		s.http.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} // HTTP/1.1: bytes are easier to reason about
	}
	s.done.Go(func() {
		if s.scheme == "https" {
			_ = s.http.ServeTLS(s.web, "", "")
		} else {
			_ = s.http.Serve(s.web)
		}
	})
	return nil
}

func listen(addr string, c *counter) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &countingListener{Listener: l, c: c}, nil
}

// Close stops the server, cuts its connections and ends its processes.
func (s *Server) Close() error {
	s.cancel()
	var err error
	if s.http != nil {
		err = s.http.Close()
	}
	if s.shell != nil {
		err = errors.Join(err, s.shell.Close())
	}
	s.done.Wait()
	if s.o.Root == "" && s.root != "" {
		err = errors.Join(err, os.RemoveAll(s.root))
	}
	return err
}

// URL is the HTTP address of a repository, without credentials.
func (s *Server) URL(name string) string {
	return s.scheme + "://" + s.web.Addr().String() + "/" + name
}

// SSHURL is the SSH address of a repository; empty when SSH is off.
func (s *Server) SSHURL(name string) string {
	if s.shell == nil {
		return ""
	}
	return "ssh://git@" + s.shell.Addr().String() + "/" + name
}

// CA is the certificate, in PEM, that signed the server's certificate.
func (s *Server) CA() []byte { return s.certs.caPEM }

// ClientCert issues a client certificate and its key, in PEM.
func (s *Server) ClientCert() (cert, key []byte, err error) { return s.certs.issue("client") }

// Requests counts HTTP requests and SSH commands since the start.
func (s *Server) Requests() int64 { return s.counter.requests.Load() }

// BytesOut counts the bytes sent to clients, headers and encryption included.
func (s *Server) BytesOut() int64 { return s.counter.out.Load() }

// BytesIn counts the bytes received from clients.
func (s *Server) BytesIn() int64 { return s.counter.in.Load() }

type counter struct{ requests, in, out atomic.Int64 }

type countingListener struct {
	net.Listener
	c *counter
}

// Accept implements net.Listener.
func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: conn, c: l.c}, nil
}

type countingConn struct {
	net.Conn
	c *counter
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.c.in.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.c.out.Add(int64(n))
	return n, err
}
