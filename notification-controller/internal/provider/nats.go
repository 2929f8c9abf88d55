package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/weirhq/weir/internal/secrets"
)

// natsSender publishes the event as JSON on a subject. The connection is kept
// for the events that follow.
// https://docs.nats.io/reference/reference-protocols/nats-protocol
type natsSender struct {
	servers string // for nats.Connect
	host    string // for messages
	subject string
	options []nats.Option

	mu   sync.Mutex // Close comes from anywhere
	conn *nats.Conn
}

func newNATS(t Target) (Sender, error) {
	hosts, err := natsHosts(t.Address)
	if err != nil {
		return nil, err
	}
	if err := t.needChannel("the subject"); err != nil {
		return nil, err
	}
	if err := natsSubject(t.Channel); err != nil {
		return nil, err
	}
	s := &natsSender{servers: t.Address, host: hosts, subject: t.Channel}
	s.options = []nats.Option{nats.Name(userAgent), nats.NoReconnect(), nats.SetCustomDialer(natsDialer{t}), nats.ErrorHandler(quiet)}
	if t.TLS != nil {
		s.options = append(s.options, nats.Secure(t.TLS))
	}
	login, err := natsLogin(t)
	if err != nil {
		return nil, err
	}
	if login != nil {
		s.options = append(s.options, login)
	}
	return s, nil
}

// quiet keeps the library from printing errors; LastError has them.
func quiet(*nats.Conn, *nats.Subscription, error) {}

// natsHosts checks the URLs of the servers, separated by commas, and returns
// their hosts.
func natsHosts(address string) (string, error) {
	if address == "" {
		return "", fmt.Errorf("%w: no address: set spec.address, or the key \"address\" of the secret", ErrInvalid)
	}
	var hosts []string
	for server := range strings.SplitSeq(address, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return "", fmt.Errorf("%w: the address is no nats:// or tls:// URL, nor several of them with commas between", ErrInvalid)
		}
		if password, ok := u.User.Password(); ok {
			secrets.Register(password)
		} else if u.User != nil {
			secrets.Register(u.User.Username()) // a token
		}
		hosts = append(hosts, u.Host)
	}
	return strings.Join(hosts, ","), nil
}

// natsSubject accepts what can be published on.
func natsSubject(subject string) error {
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || token == "*" || token == ">" || strings.ContainsAny(token, " \t\r\n") {
			return fmt.Errorf("%w: spec.channel %q is no subject to publish on", ErrInvalid, subject)
		}
	}
	return nil
}

// natsLogin picks the credentials: creds before nkey before username and
// password. nil means that there are none.
func natsLogin(t Target) (nats.Option, error) {
	switch {
	case len(t.Creds) > 0:
		if _, err := nkeys.ParseDecoratedJWT(t.Creds); err != nil {
			return nil, fmt.Errorf("%w: the key \"creds\" of the secret holds no JWT of a NATS user", ErrInvalid)
		}
		if _, err := nkeys.ParseDecoratedUserNKey(t.Creds); err != nil {
			return nil, fmt.Errorf("%w: the key \"creds\" of the secret holds no seed of a NATS user", ErrInvalid)
		}
		return nats.UserCredentialBytes(t.Creds), nil
	case len(t.NKey) > 0:
		pair, err := nkeys.ParseDecoratedNKey(t.NKey)
		if err != nil {
			return nil, fmt.Errorf("%w: the key \"nkey\" of the secret is no seed", ErrInvalid)
		}
		public, err := pair.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("%w: the key \"nkey\" of the secret is no seed", ErrInvalid)
		}
		return nats.Nkey(public, pair.Sign), nil
	case t.Login != "":
		return nats.UserInfo(t.Login, t.Password), nil
	}
	return nil, nil
}

func (s *natsSender) Send(ctx context.Context, event *eventv1.Event) error {
	body, err := json.Marshal(event)
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return s.failure("connecting to", ctx, err)
	}
	if err := conn.Publish(s.subject, body); err != nil {
		return s.failure("publishing to", ctx, err)
	}
	if err := conn.FlushWithContext(ctx); err != nil {
		return s.failure("publishing to", ctx, err)
	}
	// What the server refuses, it says before it answers the flush.
	if err := conn.LastError(); err != nil {
		s.Close()
		return s.failure("publishing to", ctx, err)
	}
	return nil
}

// connect returns the connection of earlier, or a new one.
func (s *natsSender) connect(ctx context.Context) (*nats.Conn, error) {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn != nil && conn.IsConnected() {
		return conn, nil
	}
	s.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	timeout := dialTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	conn, err := nats.Connect(s.servers, append(slices.Clone(s.options), nats.Timeout(timeout))...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	return conn, nil
}

func (s *natsSender) failure(doing string, ctx context.Context, err error) error {
	final := errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject)
	text := secrets.Redact(err.Error()) // the server's own words may be in it
	if ctx.Err() != nil || errors.Is(err, nats.ErrTimeout) {
		text = "no answer within the provider's timeout"
	}
	return &Failure{Final: final, Err: fmt.Errorf("%s NATS at %s: %s", doing, s.host, cut(text, maxQuoted))}
}

// Close implements the optional part of Sender.
func (s *natsSender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// natsDialer dials as the Provider says.
type natsDialer struct{ target Target }

// Dial implements nats.CustomDialer.
func (d natsDialer) Dial(_, address string) (net.Conn, error) {
	return d.target.dial(context.Background(), address)
}
