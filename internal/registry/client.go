// Package registry talks to container registries: it lists tags, resolves a tag
// to its digest, and reads manifests, blobs and referrers by digest.
//
// Connections are kept between calls for each host and credential, and tokens
// for each repository, so that a look at an unchanged repository is one request;
// where the registry gives entity tags, its answer is empty.
// What a registry answers is bounded in bytes, tags and pages, what has a digest
// is checked against it, and a registry cannot send us to another host for the
// next page, or to plain HTTP unless that is allowed.
package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/weirhq/weir/internal/upstream"
)

// ErrNotFound is wrapped when the registry has no such repository or tag.
var ErrNotFound = errors.New("not found in the registry")

// Busy is the error of a registry that asked to be left alone for a while.
type Busy = upstream.Busy

const (
	maxBody    = 32 << 20 // bytes of one answer, unless more is allowed
	maxTags    = 500_000
	maxPages   = 5_000
	largePage  = 10_000 // what is asked for first
	commonPage = 1_000  // what registries that refuse large pages allow
	maxKept    = 2_000  // repositories with a token; all are dropped beyond that
	userAgent  = "weir"
)

// tagName is the grammar of the OCI distribution specification, section 3.
var tagName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

type key [sha256.Size]byte

// Client is safe for concurrent use. The zero value is ready.
type Client struct {
	patience upstream.Patience

	mu     sync.Mutex
	links  map[key]*link
	guards map[key]*guard
	pages  pages
}

// link is what is kept for one repository and credential.
type link struct {
	puller    *remote.Puller // nil until first used and after a failure
	transport *guard
	page      int
	access    Access

	mu sync.Mutex
}

// Tags lists all tags of a repository, in the order of the registry. Names that
// are not tags by the specification are left out.
func (c *Client) Tags(ctx context.Context, a Access) ([]string, error) {
	l, err := c.link(a)
	if err != nil {
		return nil, err
	}
	tags, err := l.list(ctx)
	if e, ok := errors.AsType[*transport.Error](err); ok && e.StatusCode == http.StatusBadRequest && l.shrink() {
		tags, err = l.list(ctx)
	}
	return tags, l.explain(err)
}

// link finds what is kept for an access, or prepares it.
func (c *Client) link(a Access) (*link, error) {
	proxy := ""
	if a.Proxy != nil {
		proxy = a.Proxy.String()
	}
	hostKey, err := identify(a.Repository.RegistryStr(), a.Repository.Scheme(), a.Insecure, a.Auth.Username, a.Auth.Password, a.Auth.IdentityToken, a.Auth.RegistryToken, a.TokenHosts, a.TLS, proxy)
	if err != nil {
		return nil, err
	}
	linkKey, err := identify(hostKey, a.Repository.Name())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.links[linkKey]; l != nil {
		return l, nil
	}
	if c.links == nil || len(c.links) >= maxKept {
		for _, g := range c.guards {
			g.next.CloseIdleConnections()
		}
		c.links, c.guards = map[key]*link{}, map[key]*guard{}
	}
	g := c.guards[hostKey]
	if g == nil {
		if g, err = c.newGuard(a); err != nil {
			return nil, err
		}
		g.id, g.pages = hex.EncodeToString(hostKey[:]), &c.pages
		c.guards[hostKey] = g
	}
	l := &link{access: a, page: largePage, transport: g}
	c.links[linkKey] = l
	return l, nil
}

func identify(parts ...any) (key, error) {
	text, err := json.Marshal(parts)
	return sha256.Sum256(text), err
}

// newGuard returns the transport for a registry and credentials.
func (c *Client) newGuard(a Access) (*guard, error) {
	next, err := upstream.New(upstream.Options{
		TLS: a.TLS, Proxy: a.Proxy, Patience: &c.patience, MaxAnswer: maxBody,
		Who: upstream.Identify(a.Repository.RegistryStr(), a.Auth.Username, a.Auth.Password, a.Auth.IdentityToken, a.Auth.RegistryToken),
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	host := a.Repository.RegistryStr()
	return &guard{next: next, host: host, plain: a.Insecure || onThisMachine(host), tokenHosts: a.TokenHosts}, nil
}

// use returns the puller. It is made anew after a failure, because it would
// repeat its first answer for ever.
func (l *link) use() (*remote.Puller, error) {
	if err := l.transport.next.Busy(l.transport.host); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.puller != nil {
		return l.puller, nil
	}
	auth := authn.Anonymous
	if l.access.Auth != (authn.AuthConfig{}) {
		auth = authn.FromConfig(l.access.Auth)
	}
	puller, err := remote.NewPuller(remote.WithAuth(auth), remote.WithTransport(l.transport), remote.WithPageSize(l.page), remote.WithUserAgent(userAgent),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}))
	l.puller = puller
	return puller, err
}

// shrink makes the pages smaller and reports whether that is possible.
func (l *link) shrink() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	possible := l.page > commonPage
	l.page, l.puller = commonPage, nil
	return possible
}

func (l *link) list(ctx context.Context) ([]string, error) {
	puller, err := l.use()
	if err != nil {
		return nil, err
	}
	lister, err := puller.Lister(ctx, l.access.Repository)
	if err != nil {
		return nil, err
	}
	var tags []string
	for pages := 0; lister.HasNext(); pages++ {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, err
		}
		if len(tags)+len(page.Tags) > maxTags || pages > maxPages {
			return nil, fmt.Errorf("the repository has more than %d tags, or the registry never ends its list", maxTags)
		}
		for _, tag := range page.Tags {
			if tagName.MatchString(tag) {
				tags = append(tags, tag)
			}
		}
		if next, err := url.Parse(page.Next); page.Next != "" && (err != nil || next.Host != l.access.Repository.RegistryStr()) {
			return nil, fmt.Errorf("the registry sends us to another host for the next page")
		}
	}
	return tags, nil
}

// explain sorts what went wrong, and drops the puller so that the next call
// starts anew.
func (l *link) explain(err error) error {
	if err == nil {
		return nil
	}
	l.mu.Lock()
	l.puller = nil
	l.mu.Unlock()
	e, ok := errors.AsType[*transport.Error](err)
	switch {
	case !ok:
		return err
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w were refused by %s: %w", ErrCredentials, l.access.Repository.RegistryStr(), err)
	case e.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	default:
		return err
	}
}
