package registry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/weirhq/weir/internal/upstream"
)

// ErrTooLarge is wrapped when an answer has more bytes than allowed.
var ErrTooLarge = upstream.ErrTooLarge

const maxRedirects = 10 // of one request

// errStray is the error of a request that would take credentials elsewhere.
var errStray = errors.New("credentials are not sent to another site")

// guard decides where requests may go.
type guard struct {
	next       *upstream.Transport
	host       string // of the registry
	plain      bool   // HTTP without TLS is allowed
	tokenHosts []string
	id         string // of the host and credential
	pages      *pages
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.plain {
		return nil, fmt.Errorf("%q is not asked over plain HTTP: set spec.insecure to allow it", r.URL.Host)
	}
	if redirects(r) > maxRedirects {
		return nil, fmt.Errorf("%q sends us on and on: stopped after %d redirects", g.host, maxRedirects)
	}
	// We only read, so what is posted is a request for a token.
	secret := r.Header.Get("Authorization") != "" || r.Method == http.MethodPost
	if secret && !g.trusts(r.URL) {
		return nil, fmt.Errorf("%w: %q asks for a login at %q: add an entry for that host to the Docker configuration if it is right", errStray, g.host, r.URL.Host)
	}
	if listsTags(r) {
		return g.conditional(r)
	}
	return g.next.RoundTrip(r)
}

// redirects is how many have led to r. The library bounds them for some requests only.
func redirects(r *http.Request) (n int) {
	for from := r.Response; from != nil && from.Request != nil; from = from.Request.Response {
		n++
	}
	return n
}

// trusts tells whether credentials for the registry may go to u: to the registry,
// to the usual port of a host of the same site, or to a host that the credentials
// name beside the registry.
func (g *guard) trusts(u *url.URL) bool {
	if u.Host == g.host || slices.Contains(g.tokenHosts, u.Host) {
		return true
	}
	if u.Scheme != "https" || u.Port() != "" && u.Port() != "443" {
		return false
	}
	own, err := site(g.host)
	other, err2 := site(u.Host)
	return err == nil && err2 == nil && own == other
}

// site returns the part of a host's name that somebody has registered. Addresses
// and names of one part have none.
func site(hostport string) (string, error) {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return "", errStray
	}
	return publicsuffix.EffectiveTLDPlusOne(strings.ToLower(host))
}

// onThisMachine tells whether a registry can be reached over the loopback
// interface only, so that nobody can listen.
func onThisMachine(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
