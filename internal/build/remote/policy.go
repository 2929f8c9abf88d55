package remote

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/build"
)

// policy says where connections may go. Host names are checked when a
// connection is made, so redirects are bound by it too, and addresses when they
// are known, so that a name that resolves to this node does not lead there.
type policy struct {
	hosts []string // host or host:port; empty allows all but addresses of this node
}

// host reports whether the operator has named a host, which then may be
// anywhere.
func (p policy) named(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	for _, h := range p.hosts {
		if strings.EqualFold(h, address) || strings.EqualFold(h, host) {
			return true
		}
	}
	return false
}

// check refuses a URL that may not be asked at all.
func (p policy) check(u *url.URL) error {
	if len(p.hosts) > 0 && !p.named(u.Host) {
		return fmt.Errorf("%w: host %q is not allowed by --remote-bases-allow", build.ErrRemote, u.Host)
	}
	return nil
}

// dial connects to an allowed host, or to the proxy of the environment, which
// then has to know by itself what it lets through.
func (p policy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	switch {
	case p.named(address), isProxy(address):
	case len(p.hosts) > 0:
		return nil, fmt.Errorf("%w: host %q is not allowed by --remote-bases-allow", build.ErrRemote, address)
	default:
		d.Control = refuseNode
	}
	return d.DialContext(ctx, network, address)
}

// refuseNode keeps addresses out that only mean something to this node: its own
// and those that hand out its cloud identity.
func refuseNode(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap(); ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("%w: connections to %s are not allowed (--remote-bases-allow)", build.ErrRemote, ip)
	}
	return nil
}

func isProxy(address string) bool {
	for _, scheme := range []string{"https", "http"} {
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: "example.com"}})
		if err != nil || proxy == nil {
			continue
		}
		host := proxy.Host
		if proxy.Port() == "" {
			host = net.JoinHostPort(proxy.Hostname(), map[string]string{"https": "443", "http": "80"}[proxy.Scheme])
		}
		if strings.EqualFold(host, address) {
			return true
		}
	}
	return false
}
