package gitrepo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/upstream"
)

const userAgent = "git/weir"

// httpTransport is smart HTTP (gitprotocol-http(5)).
type httpTransport struct {
	addr   address
	auth   Auth
	client *http.Client

	patience *upstream.Patience
	who      string // as whom, for patience

	mu   sync.Mutex
	base map[string]string // by service, where the server redirected to
}

func newHTTPTransport(addr address, auth Auth, rt http.RoundTripper, patience *upstream.Patience, who string) *httpTransport {
	t := &httpTransport{addr: addr, auth: auth, base: map[string]string{}, patience: patience, who: who}
	t.client = &http.Client{Transport: rt, CheckRedirect: t.redirect}
	return t
}

// newRoundTripper is shared by all repositories with the same proxy and TLS settings, so
// their connections are too.
func newRoundTripper(cfg *tls.Config, through *url.URL, control dialControl) *http.Transport {
	proxy := http.ProxyFromEnvironment
	if through != nil {
		proxy = http.ProxyURL(through)
	}
	return &http.Transport{
		Proxy:                 proxy,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: control}).DialContext,
		TLSClientConfig:       cfg,
		TLSHandshakeTimeout:   15 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // packs are compressed; and no bombs
	}
}

var errRedirect = errors.New("redirect refused")

// redirect lets the first request of a service follow, as git does, but never
// with credentials to another scheme, host or port.
func (t *httpTransport) redirect(req *http.Request, via []*http.Request) error {
	target := (&url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: strings.TrimSuffix(req.URL.Path, "/info/refs")}).String()
	sameOrigin := req.URL.Scheme == t.addr.scheme && strings.ToLower(req.URL.Host) == t.addr.host
	switch {
	case len(via) > 5:
		return fmt.Errorf("%w: %w: more than 5 redirects", ErrUnreachable, errRedirect)
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("%w: %w: the server sends a request on to %s", ErrUnreachable, errRedirect, target)
	case req.URL.Scheme != "https" && req.URL.Scheme != t.addr.scheme:
		return fmt.Errorf("%w: %w: from %s to %s", ErrURL, errRedirect, t.addr.scheme, target)
	case !sameOrigin && t.auth.secret():
		return fmt.Errorf("%w: %w: the server redirects to %s, where the credentials are not sent: use that address", ErrURL, errRedirect, target)
	}
	return nil
}

func (t *httpTransport) open(ctx context.Context, service string) (session, error) {
	return &httpSession{t: t, ctx: ctx, service: service}, nil
}

type httpSession struct {
	t       *httpTransport
	ctx     context.Context
	service string
}

func (s *httpSession) stateless() bool         { return true }
func (s *httpSession) explain(err error) error { return err }
func (s *httpSession) Close() error            { return nil }

func (s *httpSession) advertisement() (io.ReadCloser, error) {
	suffix := "/info/refs?service=" + s.service
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.t.addr.String()+suffix, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: not a URL", ErrURL)
	}
	resp, err := s.do(req)
	if err != nil {
		return nil, err
	}
	want := "application/x-" + s.service + "-advertisement"
	if ct := resp.Header.Get("Content-Type"); ct != want {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: the server answers with content type %q, not %q: is this the address of a git repository?", ErrNotFound, ct, want)
	}
	s.t.mu.Lock()
	s.t.base[s.service] = strings.TrimSuffix(resp.Request.URL.String(), suffix)
	s.t.mu.Unlock()
	return resp.Body, nil
}

func (s *httpSession) call(body []byte) (io.ReadCloser, error) {
	s.t.mu.Lock()
	base, ok := s.t.base[s.service]
	s.t.mu.Unlock()
	if !ok {
		base = s.t.addr.String()
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, base+"/"+s.service, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: not a URL", ErrURL)
	}
	req.Header.Set("Content-Type", "application/x-"+s.service+"-request")
	req.Header.Set("Accept", "application/x-"+s.service+"-result")
	resp, err := s.do(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (s *httpSession) do(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", userAgent)
	if s.service == uploadPack {
		req.Header.Set("Git-Protocol", "version=2")
	}
	switch a := s.t.auth; {
	case a.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+a.BearerToken)
	case a.Password != "" || a.Username != "":
		req.SetBasicAuth(a.Username, a.Password)
	}
	if b, ok := errors.AsType[*upstream.Busy](s.t.patience.Ask(s.t.who, req.URL.Host)); ok {
		return nil, &busy{status: b.Error(), after: b.After}
	}
	resp, err := s.t.client.Do(req)
	if err != nil {
		return nil, httpError(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	resp.Body.Close()
	if b, ok := errors.AsType[*upstream.Busy](s.t.patience.Note(s.t.who, resp.Request.URL.Host, resp)); ok {
		return nil, &busy{status: resp.Status, after: b.After}
	}
	return nil, s.t.statusError(resp)
}

// httpError keeps the cause and drops the URL, which may hold credentials.
func httpError(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	switch {
	case errors.Is(err, errRedirect):
		return err
	case unknown || invalid || name:
		return fmt.Errorf("%w: the server's certificate is not trusted: %w: check %q", ErrUnreachable, err, "ca.crt")
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func (t *httpTransport) statusError(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized && !t.auth.secret():
		return fmt.Errorf("%w: the server asks for credentials and there are none", ErrAuth)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("%w: the server answers %q", ErrAuth, resp.Status)
	case code == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: the proxy answers %q", ErrAuth, resp.Status)
	case code == http.StatusNotFound || code == http.StatusGone:
		return fmt.Errorf("repository %w: the server answers %q: check the address, and that the credentials may read it", ErrNotFound, resp.Status)
	}
	return fmt.Errorf("%w: the server answers %q", ErrUnreachable, resp.Status)
}
