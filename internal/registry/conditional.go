package registry

import (
	"bytes"
	"compress/gzip"
	"container/list"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/weirhq/weir/internal/telemetry"
)

const (
	maxKeptPages = 32 << 20 // bytes of all lists that are kept, compressed
	maxTag       = 256      // bytes of an entity tag that is worth keeping
)

// Requests for lists of tags: a hit is one that the registry did not send again.
var requests = telemetry.NewCache("registry_tags")

// pages keeps lists of tags for which a registry gave an entity tag, so that an
// unchanged one is not sent again (RFC 9110, section 13.1.2). The oldest go
// when there are too many. The zero value is ready.
type pages struct {
	mu     sync.Mutex
	byKey  map[string]*list.Element
	recent list.List // of *page, the last used first
	bytes  int
}

type page struct {
	key    string // of the host and credential, and the address
	tag    string
	header http.Header
	body   []byte // compressed
}

func (p *pages) get(key string) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byKey[key]
	if e == nil {
		return nil
	}
	p.recent.MoveToFront(e)
	return e.Value.(*page)
}

func (p *pages) put(now *page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byKey == nil {
		p.byKey = map[string]*list.Element{}
	}
	if e := p.byKey[now.key]; e != nil {
		p.drop(e)
	}
	p.byKey[now.key] = p.recent.PushFront(now)
	p.bytes += len(now.body)
	for p.bytes > maxKeptPages {
		p.drop(p.recent.Back())
	}
}

func (p *pages) drop(e *list.Element) {
	old := p.recent.Remove(e).(*page)
	delete(p.byKey, old.key)
	p.bytes -= len(old.body)
}

// listsTags tells whether a request is one for tags, which is what is asked for
// again and again.
func listsTags(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/tags/list")
}

// conditional asks for a list of tags that may be here already.
func (g *guard) conditional(r *http.Request) (*http.Response, error) {
	key := g.id + " " + r.URL.String()
	known := g.pages.get(key)
	if known != nil {
		r = r.Clone(r.Context())
		r.Header.Set("If-None-Match", known.tag)
	}
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotModified && known != nil {
		requests.Count(true)
		return known.answer(resp)
	}
	if resp.StatusCode == http.StatusOK {
		requests.Count(false)
	}
	tag := resp.Header.Get("ETag")
	if resp.StatusCode != http.StatusOK || tag == "" || len(tag) > maxTag {
		return resp, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading the list of tags: %w", closing(resp, err))
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err == nil && len(body) <= maxBody {
		g.pages.put(&page{key: key, tag: tag, header: resp.Header.Clone(), body: packed.Bytes()})
	}
	resp.Body = &replayed{Reader: bytes.NewReader(body), Closer: resp.Body}
	return resp, nil
}

// answer is what the registry would have sent.
func (p *page) answer(resp *http.Response) (*http.Response, error) {
	body, err := gzip.NewReader(bytes.NewReader(p.body))
	if err != nil {
		return nil, closing(resp, err)
	}
	resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	resp.Header = p.header.Clone()
	resp.Body = &replayed{Reader: body, Closer: resp.Body}
	return resp, nil
}

// closing ends an answer that is not used.
func closing(resp *http.Response, cause error) error {
	_ = resp.Body.Close()
	return cause
}

// replayed reads from memory and closes the connection's side.
type replayed struct {
	io.Reader
	io.Closer
}
