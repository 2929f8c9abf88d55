package gitrepo

import (
	"context"
	"sync"
	"time"
)

// polls lets callers who ask the same at the same time share one request, and
// its answer for a short while.
type polls struct {
	share time.Duration

	mu    sync.Mutex
	calls map[string]*pollCall
	who   string
	last  *client
}

// client keeps what was learned about the server from one Repo to the next, as
// long as the credential is the same.
func (p *polls) client(r *Repo) *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || p.who != r.who {
		p.who, p.last = r.who, r.client
	}
	return p.last
}

// pollCall is one request. Its context ends when the last who waits has left.
type pollCall struct {
	started time.Time
	done    chan struct{}
	refs    []remoteRef // set before done is closed
	err     error
	waiting int
	cancel  context.CancelFunc
}

func newPolls(share time.Duration) *polls {
	return &polls{share: share, calls: map[string]*pollCall{}}
}

type freshKey struct{}

// Fresh makes polls with this context ask the server even if another has just
// asked the same: for a caller who knows that something has changed, such as
// one brought by a webhook.
func Fresh(ctx context.Context) context.Context {
	return context.WithValue(ctx, freshKey{}, time.Now())
}

// do answers key from a request in flight, from a recent answer, or by ask.
func (p *polls) do(ctx context.Context, key string, ask func(context.Context) ([]remoteRef, error)) ([]remoteRef, error) {
	c := p.join(ctx, key, ask)
	select {
	case <-c.done:
		return c.refs, c.err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.waiting--; c.waiting == 0 {
			c.cancel()
			p.drop(key, c)
		}
		return nil, context.Cause(ctx)
	}
}

func (p *polls) join(ctx context.Context, key string, ask func(context.Context) ([]remoteRef, error)) *pollCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, _ := ctx.Value(freshKey{}).(time.Time)
	if c := p.calls[key]; c != nil && !c.started.Before(since) && c.usable(p.share) {
		c.waiting++
		return c
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &pollCall{started: time.Now(), done: make(chan struct{}), waiting: 1, cancel: cancel}
	p.calls[key] = c
	go func() {
		defer cancel()
		c.refs, c.err = ask(own)
		close(c.done)
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.err != nil || p.share <= 0 {
			p.drop(key, c)
		} else {
			// The answer may be large: it goes when it is no longer of use.
			time.AfterFunc(p.share, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.drop(key, c)
			})
		}
	}()
	return c
}

func (c *pollCall) usable(share time.Duration) bool {
	select {
	case <-c.done:
		return c.err == nil && time.Since(c.started) < share
	default:
		return true
	}
}

// drop forgets c unless another call has taken its place. p.mu is held.
func (p *polls) drop(key string, c *pollCall) {
	if p.calls[key] == c {
		delete(p.calls, key)
	}
}

// forget makes the next poll ask, as after a push.
func (p *polls) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.calls)
}
