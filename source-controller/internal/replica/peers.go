package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/artifact"
)

// askedBy marks requests of replicas, which are not passed on again.
const askedBy = "Weir-Replica"

// maxPeers bounds how many addresses a name may stand for.
const maxPeers = 16

// errNobody says that no other replica has the artifact.
var errNobody = errors.New("no other replica has the artifact")

// Peers are the file servers of the other replicas. This replica's own may be among
// them: it has nothing that is asked for.
type Peers struct {
	hosts    []string
	identity *artifact.Identity
	client   *http.Client
	resolve  func(ctx context.Context, host string) ([]string, error)
}

// NewPeers returns the peers at hosts, each host:port. A name stands for all its
// addresses, as that of a headless Service does. They are shown the identity, unless
// it is nil.
func NewPeers(hosts []string, identity *artifact.Identity) (*Peers, error) {
	for _, h := range hosts {
		if _, port, err := net.SplitHostPort(h); err != nil || port == "" {
			return nil, fmt.Errorf("%q is not host:port", h)
		}
	}
	return &Peers{hosts: hosts, identity: identity, resolve: net.DefaultResolver.LookupHost, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			ResponseHeaderTimeout: 30 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4,
			DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
	}}, nil
}

// none tells whether there is nobody to ask.
func (p *Peers) none() bool { return len(p.hosts) == 0 }

// get asks one after the other for the artifact at path, and returns the first answer
// that has it. The caller closes its body.
func (p *Peers) get(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	failed := errNobody
	for _, address := range p.addresses(ctx) {
		resp, err := p.ask(ctx, method, address, path, header)
		if err != nil {
			failed = err
			continue
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
			return resp, nil
		case http.StatusNotFound:
		default:
			failed = fmt.Errorf("a replica answers %s", resp.Status)
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		resp.Body.Close()
	}
	return nil, failed
}

// addresses returns where the replicas are now.
func (p *Peers) addresses(ctx context.Context) (out []string) {
	for _, h := range p.hosts {
		name, port, err := net.SplitHostPort(h)
		if err != nil {
			continue
		}
		ips, err := p.resolve(ctx, name)
		if err != nil {
			continue // nobody is there yet
		}
		for _, ip := range ips[:min(len(ips), maxPeers)] {
			out = append(out, net.JoinHostPort(ip, port))
		}
	}
	return out
}

func (p *Peers) ask(ctx context.Context, method, address, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+"/", nil)
	if err != nil {
		return nil, err
	}
	req.URL.Path = "/" + path
	req.Header.Set(askedBy, "1")
	for _, name := range []string{"Range", "If-Range", "If-None-Match"} {
		if v := header.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	if err := p.identity.Show(req); err != nil {
		return nil, err
	}
	return p.client.Do(req)
}

// Handler passes requests on to a replica that has the artifact, if next has not and
// some status names one of that object.
func (c *Copier) Handler(next http.Handler) http.Handler {
	if c.o.Peers.none() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/")
		if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get(askedBy) != "" || !c.wanted(r.Context(), path) {
			next.ServeHTTP(w, r)
			return
		}
		resp, err := c.o.Peers.get(r.Context(), r.Method, path, r.Header)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		defer resp.Body.Close()
		for _, name := range []string{"Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "Etag", "X-Content-Type-Options"} {
			if v := resp.Header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body) // who asks checks the digest, and asks again
	})
}

// wanted tells whether path is to be looked for elsewhere.
func (c *Copier) wanted(ctx context.Context, path string) bool {
	if path == "" || c.o.Store.Serves(path) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return published(ctx, c.o.Client, path)
}
