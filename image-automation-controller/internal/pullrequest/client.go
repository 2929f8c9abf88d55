package pullrequest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	maxAnswer = 8 << 20 // bytes
	maxBusy   = time.Hour
	perPage   = 50
	userAgent = "weir"
)

// errElsewhere refuses redirects: the token is for one host.
var errElsewhere = errors.New("it sends us elsewhere; correct the address")

func newClient(o Options) (*http.Client, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DisableKeepAlives = true // a pull request is rare, a kept connection forgotten
	base.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.CA) > 0 {
		base.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !base.TLSClientConfig.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, fmt.Errorf("%w: the CA holds no certificate in PEM", ErrAddress)
		}
	}
	if o.Proxy != nil {
		base.Proxy = http.ProxyURL(o.Proxy)
	}
	return &http.Client{
		Transport:     guard{base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errElsewhere },
	}, nil
}

// guard bounds what hosts answer, and hears when they ask to wait.
type guard struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if after, ok := busy(resp); ok {
		_ = resp.Body.Close()
		return nil, &Busy{After: after}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// busy reads how long to wait: Retry-After (RFC 9110, section 10.2.3), or the
// time at which GitHub lets requests through again.
func busy(resp *http.Response) (time.Duration, bool) {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusForbidden, http.StatusServiceUnavailable:
	default:
		return 0, false
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		return min(time.Duration(min(seconds, 1<<20))*time.Second, maxBusy), true
	}
	if at, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil && resp.Header.Get("X-RateLimit-Remaining") == "0" {
		return min(max(time.Until(time.Unix(at, 0)), time.Second), maxBusy), true
	}
	return time.Minute, resp.StatusCode == http.StatusTooManyRequests
}
