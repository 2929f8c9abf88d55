package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// capabilitiesFor is how long a server's capabilities are believed, and so
	// how long it takes until an upgraded server is noticed.
	capabilitiesFor = time.Hour
	// maxAdvert bounds a list of refs, in bytes: about a million refs.
	maxAdvert = 128 << 20
	// maxCapabilities bounds the capabilities of a server.
	maxCapabilities = 1000
)

// client reads from one repository: protocol v2, or v0 where the server knows
// no better.
type client struct {
	t transport

	mu    sync.Mutex
	known *capabilities
	at    time.Time
}

// capabilities is what the server said it can do.
type capabilities struct {
	v2 bool
	of map[string]string
}

func (c *capabilities) has(name string) bool { _, ok := c.of[name]; return ok }

// remoteRef is one ref as the server lists it.
type remoteRef struct {
	Name   string
	Hash   plumbing.Hash
	Peeled plumbing.Hash // what an annotated tag points at, else zero
}

// commit is the commit the ref stands for.
func (r remoteRef) commit() plumbing.Hash {
	if r.Peeled.IsZero() {
		return r.Hash
	}
	return r.Peeled
}

// wanted tells whether a ref is one of those that were asked for: others are not kept,
// so that it costs no memory when there are many.
func wanted(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// fetchRequest says what to send.
type fetchRequest struct {
	wants []plumbing.Hash
	haves []plumbing.Hash // commits whose whole trees are here, without parents
	depth int             // 0 means all history
}

// listRefs lists the refs whose names start with one of the prefixes; a server
// may send more. A prefix is no exact name: "refs/heads/main" also brings
// "refs/heads/main-2".
func (c *client) listRefs(ctx context.Context, prefixes []string) (refs []remoteRef, err error) {
	err = c.converse(ctx, func(s session, caps *capabilities, advert []remoteRef) error {
		if !caps.v2 {
			refs = advert
			return nil
		}
		refs, err = listV2(s, caps, prefixes)
		return err
	}, prefixes)
	return refs, err
}

// fetch runs one fetch in one round trip: it says "done" at once, so the
// server takes the haves it knows and never negotiates. The pack goes to sink
// while it arrives; sink must read it to the end.
func (c *client) fetch(ctx context.Context, fr fetchRequest, sink func(io.Reader) error) error {
	return c.converse(ctx, func(s session, caps *capabilities, _ []remoteRef) error {
		if caps.v2 {
			return fetchV2(s, caps, fr, sink)
		}
		return fetchV0(s, caps, fr, sink)
	}, nil)
}

// converse runs fn in a conversation whose capabilities are known. fn gets the refs
// whose names start with one of the prefixes if the server is an old one, which sends
// them in its advertisement only.
func (c *client) converse(ctx context.Context, fn func(session, *capabilities, []remoteRef) error, prefixes []string) error {
	s, err := c.t.open(ctx, uploadPack)
	if err != nil {
		return err
	}
	defer s.Close()
	c.mu.Lock()
	caps := c.known
	if caps != nil && time.Since(c.at) > capabilitiesFor {
		caps = nil
	}
	c.mu.Unlock()
	var advert []remoteRef
	if caps == nil || !s.stateless() || len(prefixes) > 0 && !caps.v2 {
		if caps, advert, err = c.greet(s, prefixes); err != nil {
			return finish(ctx, s, err)
		}
	}
	if err := fn(s, caps, advert); err != nil {
		c.mu.Lock()
		c.known = nil // the next attempt starts from the beginning
		c.mu.Unlock()
		return finish(ctx, s, err)
	}
	return nil
}

// finish turns the end of a conversation into an error of this package. What
// the caller's context did goes first: a cut connection looks like anything.
func finish(ctx context.Context, s session, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
	err = s.explain(err)
	for _, known := range []error{ErrURL, ErrAuth, ErrNotFound, ErrUnreachable, ErrHostKey, ErrTooLarge, ErrIncomplete, errBadPack} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func (c *client) greet(s session, prefixes []string) (*capabilities, []remoteRef, error) {
	body, err := s.advertisement()
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	caps, refs, err := readAdvert(&pktReader{r: &limited{r: body, n: maxAdvert}}, uploadPack, prefixes)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	c.known, c.at = caps, time.Now()
	c.mu.Unlock()
	return caps, refs, nil
}

// readAdvert reads what a service says first: the capabilities of protocol
// v2, or the refs with the capabilities behind the first one (v0, v1). Of those the
// refs are kept whose names start with one of the prefixes.
func readAdvert(p *pktReader, service string, prefixes []string) (*capabilities, []remoteRef, error) {
	kind, line, err := p.line()
	if err == nil && line == "# service="+service { // the preamble of smart HTTP
		if _, _, err = p.next(); err == nil {
			kind, line, err = p.line()
		}
	}
	if err == nil && line == "version 1" {
		kind, line, err = p.line()
	}
	if err != nil {
		return nil, nil, err
	}
	caps := &capabilities{v2: kind == pktData && line == "version 2", of: map[string]string{}}
	var refs []remoteRef
	if caps.v2 {
		err = caps.readV2(p)
	} else {
		refs, err = caps.readV0(p, kind, line, prefixes)
	}
	if err != nil {
		return nil, nil, err
	}
	if f, ok := caps.of["object-format"]; ok && f != "sha1" {
		return nil, nil, fmt.Errorf("%w: the repository uses object format %q; only sha1 is supported", ErrURL, f)
	}
	return caps, refs, nil
}

func (c *capabilities) readV2(p *pktReader) error {
	for n := 0; ; n++ {
		kind, line, err := p.line()
		if err != nil || kind != pktData {
			return err
		}
		if n == maxCapabilities {
			return fmt.Errorf("%w: the server lists more than %d capabilities", ErrTooLarge, maxCapabilities)
		}
		k, v, _ := strings.Cut(line, "=")
		c.of[k] = v
	}
}

func (c *capabilities) readV0(p *pktReader, kind pktKind, line string, prefixes []string) (refs []remoteRef, err error) {
	for first := true; kind == pktData; first = false {
		text, list, _ := strings.Cut(line, "\x00")
		if first {
			for _, f := range strings.Fields(list) {
				k, v, _ := strings.Cut(f, "=")
				c.of[k] = v
			}
		}
		hash, name, ok := strings.Cut(text, " ")
		switch {
		case strings.HasPrefix(text, "shallow "):
		case !ok || len(hash) != 40:
			return nil, fmt.Errorf("the server lists %q: not a ref", serverText(text))
		case strings.HasSuffix(name, "^{}"):
			if n := len(refs); n > 0 && refs[n-1].Name == strings.TrimSuffix(name, "^{}") {
				refs[n-1].Peeled = plumbing.NewHash(hash)
			}
		case wanted(name, prefixes):
			refs = append(refs, remoteRef{Name: strings.Clone(name), Hash: plumbing.NewHash(hash)})
		}
		if kind, line, err = p.line(); err != nil {
			return nil, err
		}
	}
	if len(refs) == 1 && refs[0].Hash.IsZero() { // "capabilities^{}" of an empty repository
		refs = nil
	}
	return refs, nil
}
