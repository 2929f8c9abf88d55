package gitrepo

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/fluxcd/pkg/ssh/knownhosts"
)

// Auth is what a repository is reached with. The zero value is anonymous.
type Auth struct {
	Username, Password string // basic authentication; Username also logs in over SSH
	BearerToken        string

	Identity           []byte // SSH private key, PEM or OpenSSH
	IdentityPassphrase string
	KnownHosts         []byte // known_hosts of OpenSSH; required for SSH

	// Proxy is the proxy to go through, an http, https or socks5 URL with its user
	// and password; nil means as the environment says.
	Proxy *url.URL

	// Foreign says that a repository names the server, and not whoever may tell this
	// program what to read: this machine and what is linked to it are not dialled.
	Foreign bool

	CA                    []byte // PEM; replaces the system's authorities
	ClientCert, ClientKey []byte // PEM

	// Scope, when set, stands for the credential in the mirror's identity, so
	// that a token which is renewed every hour keeps its mirror. It must name
	// the owner of the credential, such as "namespace/secret".
	Scope string
}

// ParseAuth reads the credentials of a Secret, by the keys of Flux's
// GitRepository: username, password, bearerToken, identity (password is then
// its passphrase), known_hosts, ca.crt (or caFile), tls.crt with tls.key. A nil
// map means none. User and password in the URL are used where the Secret has
// none. Errors wrap ErrURL or ErrAuth and name the key.
func ParseAuth(rawURL string, secret map[string][]byte) (Auth, error) {
	addr, err := parseAddress(rawURL)
	if err != nil {
		return Auth{}, err
	}
	first := func(keys ...string) []byte {
		for _, k := range keys {
			if v := secret[k]; len(v) > 0 {
				return v
			}
		}
		return nil
	}
	a := Auth{
		Username:    strings.TrimSpace(string(secret["username"])),
		Password:    string(secret["password"]),
		BearerToken: strings.TrimSpace(string(secret["bearerToken"])),
		Identity:    secret["identity"],
		KnownHosts:  secret["known_hosts"],
		CA:          first("ca.crt", "caFile"),
		ClientCert:  first("tls.crt", "certFile"),
		ClientKey:   first("tls.key", "keyFile"),
	}
	if addr.scheme == "ssh" {
		a.IdentityPassphrase, a.Password = a.Password, ""
	}
	a = a.withURL(addr)
	return a, a.check(addr)
}

// withURL fills user and password from the URL.
func (a Auth) withURL(addr address) Auth {
	if a.Username == "" {
		a.Username = addr.user
	}
	if a.Username == "" && addr.scheme == "ssh" {
		a.Username = "git"
	}
	if a.Password == "" && addr.scheme != "ssh" && a.Username == addr.user {
		a.Password = addr.password
	}
	return a
}

// check finds what cannot work before anything is dialled.
func (a Auth) check(addr address) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("credentials of %s: %w: %s", addr, ErrAuth, fmt.Sprintf(format, args...))
	}
	if err := checkProxy(a.Proxy); err != nil {
		return err
	}
	if addr.scheme == "ssh" {
		if len(a.Identity) == 0 {
			return fail("key %q is missing: SSH needs a private key", "identity")
		}
		if _, err := a.signer(); err != nil {
			return fail("%v", err)
		}
		if len(a.KnownHosts) == 0 {
			return fail("key %q is missing: SSH needs the server's host key", "known_hosts")
		}
		if keys, err := knownhosts.ParseKnownHosts(string(a.KnownHosts)); err != nil || len(keys) == 0 {
			return fail("key %q holds no host key", "known_hosts")
		}
		return nil
	}
	switch {
	case a.BearerToken != "" && a.Password != "":
		return fail("both %q and %q are set: keep one", "bearerToken", "password")
	case a.Username == "" && a.Password != "":
		return fail("key %q is missing: a password needs one", "username")
	case strings.ContainsAny(a.BearerToken, "\r\n"):
		return fail("key %q holds more than one line", "bearerToken")
	}
	if _, err := a.tls(); err != nil {
		return fail("%v", err)
	}
	return nil
}

// secret tells whether something would be lost if it were sent elsewhere over
// HTTP. A user name counts: some servers take a token there.
func (a Auth) secret() bool {
	return a.Username != "" || a.Password != "" || a.BearerToken != "" || len(a.ClientCert) > 0
}

// signers keeps unlocked keys, by a hash of key and passphrase: to unlock one
// takes some 100 ms of CPU by design.
var signers = struct {
	sync.Mutex
	by map[[32]byte]ssh.Signer
}{by: map[[32]byte]ssh.Signer{}}

const maxSigners = 256

func (a Auth) signer() (ssh.Signer, error) {
	id := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(a.Identity), a.Identity, a.IdentityPassphrase))
	signers.Lock()
	key := signers.by[id]
	signers.Unlock()
	if key != nil {
		return key, nil
	}
	key, err := a.unlock()
	if err != nil {
		return nil, err
	}
	signers.Lock()
	defer signers.Unlock()
	if len(signers.by) >= maxSigners {
		clear(signers.by)
	}
	signers.by[id] = key
	return key, nil
}

func (a Auth) unlock() (ssh.Signer, error) {
	key, err := ssh.ParsePrivateKey(a.Identity)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked {
		if a.IdentityPassphrase == "" {
			return nil, fmt.Errorf("key %q is locked and key %q, its passphrase, is missing", "identity", "password")
		}
		key, err = ssh.ParsePrivateKeyWithPassphrase(a.Identity, []byte(a.IdentityPassphrase))
	}
	if err != nil { // the cause may repeat parts of the key
		return nil, fmt.Errorf("key %q is no usable private key, or its passphrase is wrong", "identity")
	}
	return key, nil
}

func (a Auth) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(a.CA) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(a.CA) {
			return nil, fmt.Errorf("key %q holds no certificate", "ca.crt")
		}
	}
	if len(a.ClientCert) > 0 || len(a.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(a.ClientCert, a.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("keys %q and %q are no pair of certificate and private key", "tls.crt", "tls.key")
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// Transport returns a round tripper with the TLS settings and the proxy of a, but
// without its credentials: for asking who gives them.
func (a Auth) Transport() (*http.Transport, error) {
	cfg, err := a.tls()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuth, err)
	}
	return newRoundTripper(cfg, a.Proxy, nil), nil
}

// Elsewhere returns what may be used of a for another server that a repository
// names: the proxy.
func (a Auth) Elsewhere() Auth { return Auth{Proxy: a.Proxy, Foreign: true} }

// digest is a keyed hash of some of the fields: equal where they are equal,
// and of no use to whoever reads it without the key.
func digest(key []byte, fields ...string) string {
	mac := hmac.New(sha256.New, key)
	for _, f := range fields {
		fmt.Fprintf(mac, "%d:%s,", len(f), f)
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// fields lists all that makes a difference, for digest.
func (a Auth) fields() []string {
	return []string{a.proxy(), strconv.FormatBool(a.Foreign), a.Username, a.Password, a.BearerToken, string(a.Identity), a.IdentityPassphrase,
		string(a.KnownHosts), string(a.CA), string(a.ClientCert), string(a.ClientKey)}
}

// proxy is the proxy with its credentials, for digest.
func (a Auth) proxy() string {
	if a.Proxy == nil {
		return ""
	}
	return a.Proxy.String()
}
