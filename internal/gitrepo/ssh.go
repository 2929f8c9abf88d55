package gitrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/ssh/knownhosts"
	"golang.org/x/crypto/ssh"
	hosts "golang.org/x/crypto/ssh/knownhosts"
)

// sshTransport dials per conversation. A kept connection would save a few
// milliseconds per poll, and cost a keep-alive, a reconnect after the server's
// silent hang-up, and a credential that outlives its Secret.
type sshTransport struct {
	addr address
	auth Auth
	o    *Options
}

func (t *sshTransport) open(ctx context.Context, service string) (session, error) {
	conn, err := dialSSH(ctx, t.auth.Proxy, t.addr.dialAddress(), t.o.control(t.auth))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, ErrAuth) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	s := &sshSession{ctx: ctx, done: make(chan struct{})}
	s.unwatch = context.AfterFunc(ctx, func() { conn.Close() }) // ends every read
	s.close = conn.Close
	if err := t.start(s, conn, service); err != nil {
		s.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
		}
		return nil, err
	}
	return s, nil
}

// start logs in and starts the service with protocol v2 offered.
func (t *sshTransport) start(s *sshSession, conn net.Conn, service string) error {
	cfg, err := t.config()
	if err != nil {
		return err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, t.addr.dialAddress(), cfg)
	if err != nil {
		return sshError(err)
	}
	client := ssh.NewClient(c, channels, requests)
	s.close = client.Close
	if s.s, err = client.NewSession(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if s.in, err = s.s.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = s.s.StdoutPipe(); err != nil {
		return err
	}
	s.s.Stderr = &s.stderr
	if service == uploadPack {
		_ = s.s.Setenv("GIT_PROTOCOL", "version=2") // refused: v0
	}
	if err := s.s.Start(service + " '" + t.addr.path + "'"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	go func() {
		_ = s.s.Wait()
		close(s.done)
	}()
	return nil
}

func (t *sshTransport) config() (*ssh.ClientConfig, error) {
	key, err := t.auth.signer()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuth, err)
	}
	known, err := knownhosts.ParseKnownHosts(string(t.auth.KnownHosts))
	if err != nil {
		return nil, fmt.Errorf("%w: %q cannot be read", ErrHostKey, "known_hosts")
	}
	cfg := &ssh.ClientConfig{
		User:              t.auth.Username,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyAlgorithms: t.o.HostKeyAlgos,
		Timeout:           30 * time.Second,
		HostKeyCallback: func(host string, _ net.Addr, key ssh.PublicKey) error {
			sum := sha256.Sum256(key.Marshal())
			for _, k := range known {
				if k.Matches(hosts.Normalize(host), sum[:]) {
					return nil
				}
			}
			return fmt.Errorf("%w: the key %s %s of %q is not in %q", ErrHostKey, key.Type(), ssh.FingerprintSHA256(key), host, "known_hosts")
		},
	}
	cfg.KeyExchanges = t.o.KexAlgos
	return cfg, nil
}

func sshError(err error) error {
	switch {
	case errors.Is(err, ErrHostKey):
		return err
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w: the server does not accept the key", ErrAuth)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

type sshSession struct {
	ctx     context.Context
	s       *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	stderr  boundedText
	done    chan struct{} // closed when the service has ended
	close   func() error
	unwatch func() bool
}

func (s *sshSession) stateless() bool { return false }

func (s *sshSession) advertisement() (io.ReadCloser, error) { return io.NopCloser(s.out), nil }

func (s *sshSession) call(request []byte) (io.ReadCloser, error) {
	if _, err := s.in.Write(request); err != nil {
		return nil, err
	}
	return io.NopCloser(s.out), nil
}

// explain finds the cause of an early end in what the service said.
func (s *sshSession) explain(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	select {
	case <-s.done:
	case <-s.ctx.Done():
	}
	if said := s.stderr.String(); said != "" {
		return remoteError(said)
	}
	return fmt.Errorf("%w: the server ended the connection early", ErrUnreachable)
}

// Close implements session.
func (s *sshSession) Close() error {
	s.unwatch()
	return s.close()
}

// boundedText keeps the start of what is written to it.
type boundedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (t *boundedText) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(b[:min(len(b), max(0, 4*maxServerText-t.b.Len()))])
	return len(b), nil
}

// String implements fmt.Stringer.
func (t *boundedText) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
