package chartrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/upstream"
)

var (
	// ErrNotFound is wrapped when the server has no such file.
	ErrNotFound = errors.New("not found")
	// ErrTooLarge is wrapped when a file has more bytes than allowed.
	ErrTooLarge = upstream.ErrTooLarge
)

const (
	maxRedirects = 10
	maxClients   = 128 // kept with their connections

	maxExplanation = 1 << 20 // bytes of an answer that is no file
)

// Client keeps connections between calls. The zero value is ready; it is safe for
// concurrent use.
type Client struct {
	patience upstream.Patience

	mu      sync.Mutex
	clients map[string]*http.Client
}

// State is what is remembered of an answer, to ask whether there is a newer one.
type State struct{ ETag, LastModified string }

// File is an answer.
type File struct {
	io.ReadCloser // nil when nothing changed; reading ends with ErrTooLarge
	State         State
}

// Get reads the file at target, which may have max bytes. A known state makes the
// request conditional. Errors wrap ErrURL, ErrRedirect, ErrCredentials,
// ErrNotFound or *upstream.Busy, or are those of the connection.
func (c *Client) Get(ctx context.Context, a Access, target *url.URL, known State, limit int64) (File, error) {
	hc, err := c.client(a)
	if err != nil {
		return File{}, err
	}
	req, err := http.NewRequestWithContext(upstream.Limited(ctx, limit), http.MethodGet, target.String(), nil)
	if err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrURL, err)
	}
	req.Header.Set("User-Agent", "weir-source-controller")
	if known.ETag != "" {
		req.Header.Set("If-None-Match", known.ETag)
	} else if known.LastModified != "" {
		req.Header.Set("If-Modified-Since", known.LastModified)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return File{}, err
	}
	state := State{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	switch {
	case resp.StatusCode == http.StatusNotModified && known != (State{}):
		resp.Body.Close()
		return File{State: known}, nil
	case resp.StatusCode != http.StatusOK:
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		return File{}, refusal(target, resp)
	case resp.ContentLength > limit:
		resp.Body.Close()
		return File{}, fmt.Errorf("%q: %w: it has %d bytes, %d are allowed", secrets.Redact(target.String()), ErrTooLarge, resp.ContentLength, limit)
	}
	return File{ReadCloser: resp.Body, State: state}, nil
}

func refusal(target *url.URL, resp *http.Response) error {
	where := secrets.Redact(target.String())
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w refused: the server answers %q for %q", ErrCredentials, resp.Status, where)
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%q: %w: the server answers %q", where, ErrNotFound, resp.Status)
	}
	return fmt.Errorf("the server answers %q for %q", resp.Status, where)
}

// client returns the HTTP client for a.
func (c *Client) client(a Access) (*http.Client, error) {
	who := upstream.Identify(a.URL.Scheme, a.URL.Host, a.Username, a.Password)
	key := upstream.Identify(who, strconv.FormatBool(a.PassCredentials), string(a.TLS.CA), string(a.TLS.Cert), string(a.TLS.Key))
	c.mu.Lock()
	defer c.mu.Unlock()
	if hc, found := c.clients[key]; found {
		return hc, nil
	}
	own, err := upstream.New(upstream.Options{TLS: a.TLS, Who: who, Patience: &c.patience, MaxAnswer: maxExplanation})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	// Elsewhere the repository's authority is trusted beside the system's, and its
	// certificate is not presented.
	other, err := upstream.New(upstream.Options{TLS: upstream.Material{CA: a.TLS.CA}, BesideCA: true, Who: who, Patience: &c.patience, MaxAnswer: maxExplanation})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	if c.clients == nil || len(c.clients) >= maxClients {
		for _, old := range c.clients {
			old.CloseIdleConnections()
		}
		c.clients = map[string]*http.Client{}
	}
	hc := &http.Client{Transport: &split{access: a, own: own, other: other}, CheckRedirect: redirect}
	c.clients[key] = hc
	return hc, nil
}

func redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	if req.URL.Scheme != "https" && (req.URL.Scheme != "http" || via[len(via)-1].URL.Scheme == "https") {
		return fmt.Errorf("%w: the server sends us to %q, away from TLS", ErrRedirect, secrets.Redact(req.URL.String()))
	}
	return nil
}

// split sends requests to the repository's host with credentials, and others
// without.
type split struct {
	access     Access
	own, other *upstream.Transport
}

// RoundTrip implements http.RoundTripper.
func (s *split) RoundTrip(req *http.Request) (*http.Response, error) {
	same := req.URL.Scheme == s.access.URL.Scheme && req.URL.Host == s.access.URL.Host
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if s.access.Username != "" && (same || s.access.PassCredentials) {
		req.SetBasicAuth(s.access.Username, s.access.Password)
	}
	if same {
		return s.own.RoundTrip(req)
	}
	return s.other.RoundTrip(req)
}

// CloseIdleConnections is found by http.Client.
func (s *split) CloseIdleConnections() {
	s.own.CloseIdleConnections()
	s.other.CloseIdleConnections()
}
