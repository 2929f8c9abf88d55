package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/weirhq/weir/internal/proxytest"
	"github.com/weirhq/weir/internal/secrets"
)

// natsServer runs a real server, without a log.
func natsServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

// natsTarget has no credentials.
func natsTarget(s *server.Server) Target {
	return Target{Address: s.ClientURL(), Channel: "flux.events", Client: http.DefaultClient}
}

// heard subscribes with a target's own credentials and returns what send
// published.
func heard(t *testing.T, target Target) (*eventv1.Event, error) {
	t.Helper()
	s, err := newNATS(target)
	if err != nil {
		t.Fatal(err)
	}
	sender := s.(*natsSender)
	defer sender.Close()
	conn, err := nats.Connect(sender.servers, sender.options...)
	if err != nil {
		return nil, send(t.Context(), s, sample())
	}
	defer conn.Close()
	sub, err := conn.SubscribeSync(target.Channel)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, sample()); err != nil {
		return nil, err
	}
	first := sender.conn
	m, err := sub.NextMsg(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	e := &eventv1.Event{}
	if err := json.Unmarshal(m.Data, e); err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, sample()); err != nil || sender.conn != first {
		t.Errorf("the second event took another connection: %v", err)
	}
	return e, nil
}

// natsIdentity is a user of an operator's server: the server's options, the
// user's credentials.
func natsIdentity(t *testing.T) (*server.Options, []byte) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pair := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		k, err := make()
		must(err)
		public, err := k.PublicKey()
		must(err)
		return k, public
	}
	operator, operatorKey := pair(nkeys.CreateOperator)
	account, accountKey := pair(nkeys.CreateAccount)
	user, userKey := pair(nkeys.CreateUser)
	operatorClaims := jwt.NewOperatorClaims(operatorKey)
	accountJWT, err := jwt.NewAccountClaims(accountKey).Encode(operator)
	must(err)
	userJWT, err := jwt.NewUserClaims(userKey).Encode(account)
	must(err)
	seed, err := user.Seed()
	must(err)
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	must(err)
	resolver := &server.MemAccResolver{}
	must(resolver.Store(accountKey, accountJWT))
	return &server.Options{TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, AccountResolver: resolver}, creds
}

func natsSeed(t *testing.T) (seed []byte, public string) {
	t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if seed, err = k.Seed(); err != nil {
		t.Fatal(err)
	}
	if public, err = k.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return seed, public
}

// TestNatsCredentials sends to real servers, each of which knows one way to
// log in. The target has wrong credentials of the lesser kinds as well.
func TestNatsCredentials(t *testing.T) {
	withJWT, creds := natsIdentity(t)
	_, otherCreds := natsIdentity(t)
	seed, public := natsSeed(t)
	otherSeed, _ := natsSeed(t)
	byKey := func() *server.Options { return &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}} }
	byName := func() *server.Options { return &server.Options{Username: "me", Password: "right-" + planted} }
	for name, tt := range map[string]struct {
		options *server.Options
		change  func(*Target)
		refused bool
	}{
		"nobody asks":          {options: &server.Options{}, change: func(*Target) {}},
		"user":                 {options: byName(), change: func(t *Target) { t.Login, t.Password = "me", "right-"+planted }},
		"wrong password":       {options: byName(), change: func(t *Target) { t.Login, t.Password = "me", planted }, refused: true},
		"none":                 {options: byName(), change: func(*Target) {}, refused: true},
		"nkey before user":     {options: byKey(), change: func(t *Target) { t.NKey, t.Login, t.Password = seed, "me", planted }},
		"wrong nkey":           {options: byKey(), change: func(t *Target) { t.NKey = otherSeed }, refused: true},
		"creds before nkey":    {options: withJWT, change: func(t *Target) { t.Creds, t.NKey, t.Login, t.Password = creds, otherSeed, "me", planted }},
		"wrong creds win, too": {options: byKey(), change: func(t *Target) { t.Creds, t.NKey = otherCreds, seed }, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			target := natsTarget(natsServer(t, tt.options))
			tt.change(&target)
			got, err := heard(t, target)
			if (err != nil) != tt.refused || IsFinal(err) {
				t.Fatalf("got %v (final %t)", err, IsFinal(err))
			}
			if err != nil && (strings.Contains(err.Error(), planted) || strings.Contains(err.Error(), string(seed))) {
				t.Errorf("the secret is in the error: %v", err)
			}
			if diff := cmp.Diff(sample(), got); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

// serverTLS is a certificate for 127.0.0.1 and what trusts it.
func serverTLS(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, pool
}

func TestNatsOverTLS(t *testing.T) {
	config, trusted := serverTLS(t)
	target := natsTarget(natsServer(t, &server.Options{TLSConfig: config, TLS: true, TLSTimeout: 20}))
	if _, err := heard(t, target); err == nil {
		t.Error("an unknown authority was trusted")
	}
	target.TLS = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	if got, err := heard(t, target); err != nil || got.Message != sample().Message {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestNatsForbidden asserts that what the server refuses after the connection
// stands is an error too.
func TestNatsForbidden(t *testing.T) {
	user := &server.User{Username: "me", Password: planted, Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"flux.>"}}}}
	target := natsTarget(natsServer(t, &server.Options{Users: []*server.User{user}}))
	target.Login, target.Password = "me", planted
	if _, err := heard(t, target); err == nil || !strings.Contains(err.Error(), "ermission") || strings.Contains(err.Error(), planted) {
		t.Errorf("got %v", err)
	}
	target = natsTarget(natsServer(t, &server.Options{MaxPayload: 10}))
	if _, err := heard(t, target); !IsFinal(err) {
		t.Errorf("too large: got %v", err)
	}
}

func TestNatsServerComesBack(t *testing.T) {
	options := &server.Options{}
	running := natsServer(t, options)
	s, err := newNATS(natsTarget(running))
	if err != nil {
		t.Fatal(err)
	}
	defer s.(*natsSender).Close()
	if err := send(t.Context(), s, sample()); err != nil {
		t.Fatal(err)
	}
	port := running.Addr().(*net.TCPAddr).Port
	running.Shutdown()
	running.WaitForShutdown()
	if err := send(t.Context(), s, sample()); err == nil {
		t.Error("a server that is gone took an event")
	}
	again, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	again.Start()
	defer again.Shutdown()
	if !again.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start again")
	}
	if err := send(t.Context(), s, sample()); err != nil {
		t.Errorf("after the server came back: %v", err)
	}
}

// TestNatsThroughTheProxy sends through an HTTP proxy that asks for a login.
func TestNatsThroughTheProxy(t *testing.T) {
	target := natsTarget(natsServer(t, &server.Options{}))
	proxy := proxytest.Start(t, proxytest.Options{Username: "me", Password: planted})
	target.Proxy = proxy.Address(t)
	target.Proxy.User = nil
	if _, err := heard(t, target); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("without a login: %v", err)
	}
	target.Proxy = proxy.Address(t)
	if got, err := heard(t, target); err != nil || got.Message != sample().Message || len(proxy.Hosts()) == 0 {
		t.Errorf("got %v through tunnels to %q, %v", got, proxy.Hosts(), err)
	}
}

func TestNatsNoAnswer(t *testing.T) {
	secrets.Register(planted)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := newNATS(Target{Address: "nats://me:" + planted + "@" + l.Addr().String(), Channel: "x"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := send(ctx, s, sample()); err == nil || IsFinal(err) || strings.Contains(err.Error(), planted) || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %v", err)
	}
}

// TestNatsEndlessServer asserts that little is read of a server that never
// stops talking.
func TestNatsEndlessServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for block := []byte(strings.Repeat("x", 1<<16)); err == nil; {
			_, err = conn.Write(block)
		}
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := newNATS(Target{Address: "nats://" + l.Addr().String(), Channel: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), s, sample()); err == nil || IsFinal(err) {
		t.Errorf("got %v", err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 64<<20 {
		t.Errorf("%d bytes were allocated", after.TotalAlloc-before.TotalAlloc)
	}
}

func TestNatsRefuses(t *testing.T) {
	refuses(t, "nats", map[string]func(*Target){
		"no subject": noChannel,
		"a wildcard": func(t *Target) { t.Channel = "flux.*" },
		"a space":    func(t *Target) { t.Channel = "flux events" },
		"bad creds":  func(t *Target) { t.Creds = []byte(planted) },
		"bad nkey":   func(t *Target) { t.NKey = []byte(planted) },
		"websocket":  func(t *Target) { t.Address = "wss://" + planted },
	})
}
