package githubapp

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Tokens keeps tokens until four fifths of their life are over. Who waits for
// GitHub keeps nobody else waiting but those who want the same token. It is safe
// for concurrent use.
type Tokens struct {
	o TokensOptions

	mu   sync.Mutex
	kept map[string]*kept // by the identity of the App
}

// TokensOptions bound Tokens.
type TokensOptions struct {
	Max         int           // tokens kept; 0 means 100
	MaxDuration time.Duration // the longest that one is used; 0 means an hour
	Now         func() time.Time
}

// kept is the place of one token.
type kept struct {
	turn  chan struct{} // holds one: the right to ask
	value string
	until time.Time
	used  time.Time
	users int
}

// NewTokens returns Tokens.
func NewTokens(o TokensOptions) *Tokens {
	if o.Max <= 0 {
		o.Max = 100
	}
	if o.MaxDuration <= 0 {
		o.MaxDuration = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Tokens{o: o, kept: map[string]*kept{}}
}

// Get returns a token of the App, which is asked for through rt when none is kept.
// Errors are those of App.Token, or the context's.
func (t *Tokens) Get(ctx context.Context, a *App, rt http.RoundTripper) (string, error) {
	id := a.Identity()
	k := t.take(id)
	defer t.release(id, k)
	select {
	case <-k.turn:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { k.turn <- struct{}{} }()
	now := t.o.Now()
	if now.Before(k.until) {
		return k.value, nil
	}
	token, err := a.Token(ctx, rt)
	if err != nil {
		return "", err
	}
	k.value, k.until = token.Value, now.Add(min(token.Expires.Sub(now)*4/5, t.o.MaxDuration))
	return k.value, nil
}

func (t *Tokens) take(id string) *kept {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kept[id]
	if k == nil {
		k = &kept{turn: make(chan struct{}, 1)}
		k.turn <- struct{}{}
		t.kept[id] = k
	}
	k.users++
	k.used = t.o.Now()
	return k
}

// release gives the place back, and removes the one that was used longest ago when
// there are too many.
func (t *Tokens) release(id string, k *kept) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.users--
	if k.users == 0 && k.value == "" && t.kept[id] == k {
		delete(t.kept, id) // nothing came of it
	}
	for len(t.kept) > t.o.Max {
		oldest := ""
		for id, k := range t.kept {
			if k.users == 0 && (oldest == "" || k.used.Before(t.kept[oldest].used)) {
				oldest = id
			}
		}
		if oldest == "" {
			return
		}
		delete(t.kept, oldest)
	}
}
