package imageupdate

import (
	"context"
	"sync"
)

// lines lets one update of each branch happen at a time, so that automations of
// one branch do not outrun each other. The zero value is ready.
type lines struct {
	mu    sync.Mutex
	heads map[string]*line
}

type line struct {
	turn    chan struct{} // holds one token while somebody is at work
	waiting int
}

// enter waits for the turn, until ctx ends. The caller releases it.
func (l *lines) enter(ctx context.Context, name string) (release func(), err error) {
	l.mu.Lock()
	if l.heads == nil {
		l.heads = map[string]*line{}
	}
	head := l.heads[name]
	if head == nil {
		head = &line{turn: make(chan struct{}, 1)}
		l.heads[name] = head
	}
	head.waiting++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if head.waiting--; head.waiting == 0 {
			delete(l.heads, name)
		}
	}
	select {
	case head.turn <- struct{}{}:
		return func() { <-head.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
