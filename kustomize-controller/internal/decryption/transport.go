package decryption

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// transport reaches key management services. It is this package's own because
// the process has closed the default one to builds.
var transport = sync.OnceValue(func() http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: refuseLinkLocal}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: serviceTimeout,
		MaxIdleConns: 10, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
})

// newClient returns a client that follows no redirect: credentials are for the
// host that the file names.
func newClient() *http.Client {
	return &http.Client{Transport: direct{transport()}, Timeout: serviceTimeout}
}

// direct makes an error of each redirect, so that no library follows one by
// itself.
type direct struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := d.RoundTripper.RoundTrip(r)
	if err == nil && answer.StatusCode/100 == 3 {
		answer.Body.Close()
		return nil, fmt.Errorf("%s answers with a redirect, which is not followed", r.URL.Host)
	}
	return answer, err
}

// maxAnswer bounds the answer of a service, in bytes.
const maxAnswer = 64 << 10

// exchange sends a request and decodes the JSON of the answer.
func exchange(req *http.Request, into any) error {
	req.Header.Set("Content-Type", "application/json")
	answer, err := newClient().Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s: %s", req.URL.Host, answer.Status, body)
	case json.Unmarshal(body, into) != nil:
		return fmt.Errorf("the answer of %s cannot be understood", req.URL.Host)
	}
	return nil
}

// refuseLinkLocal keeps addresses out that only mean something to this node,
// such as those that hand out its cloud identity.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
		return fmt.Errorf("connections to %s are not allowed", ip)
	}
	return nil
}
