package signature

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
)

// publicAge is how long the trusted root of the public instance is used before it
// is read again.
const publicAge = 24 * time.Hour

// retryAge is that of one that could not be read again.
const retryAge = 10 * time.Minute

// publicTimeout bounds each of the few requests for it, unless Public.timeout does.
const publicTimeout = 20 * time.Second

// Public is the trusted root of the public Sigstore instance. It is read through
// its TUF repository, whose first root is part of this program, when it is first
// asked for and once a day after that. The zero value is ready; it is safe for
// concurrent use.
type Public struct {
	URL string // of the TUF repository; "" is the public one's

	mu      sync.Mutex
	trusted root.TrustedMaterial
	read    time.Time
	busy    chan struct{} // closed when the reading under way is over
	err     error

	timeout time.Duration // 0 means publicTimeout
}

// Get returns the trusted root. One that cannot be read again, or not before ctx ends,
// stays in use. The error wraps ErrTrust.
func (p *Public) Get(ctx context.Context) (root.TrustedMaterial, error) {
	p.mu.Lock()
	if p.trusted != nil && time.Since(p.read) < publicAge {
		defer p.mu.Unlock()
		return p.trusted, nil
	}
	if p.busy == nil {
		p.busy = make(chan struct{})
		go p.fetch(p.busy)
	}
	busy := p.busy
	p.mu.Unlock()
	select {
	case <-busy:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.trusted != nil:
		return p.trusted, nil
	case p.busy == busy:
		return nil, fmt.Errorf("%w: the trusted root of the public instance: %w", ErrTrust, ctx.Err())
	}
	return nil, fmt.Errorf("%w: the trusted root of the public instance cannot be read; name one in spec.verify.trustedRootSecretRef: %w", ErrTrust, p.err)
}

// fetch reads the root. It runs on when the one who asked has gone: others wait.
func (p *Public) fetch(done chan struct{}) {
	client := fetcher.NewDefaultFetcher()
	client.SetHTTPClient(&http.Client{Timeout: cmp.Or(p.timeout, publicTimeout)}) // its own one waits for ever
	o := tuf.DefaultOptions().WithDisableLocalCache().WithFetcher(client)
	if p.URL != "" {
		o.RepositoryBaseURL = p.URL
	}
	trusted, err := root.FetchTrustedRootWithOptions(o)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && trusted == nil {
		err = errors.New("it is empty")
	}
	p.err, p.busy, p.read = err, nil, time.Now()
	if err == nil {
		p.trusted = trusted
	} else {
		p.read = p.read.Add(retryAge - publicAge)
	}
	close(done)
}
