// Package sender decides who may post events, when not everybody may: those
// who show a token of a service account that is on a list.
//
// The API server says whose token it is (TokenReview). What it says is kept
// for a minute, so that a controller with many events costs one request a
// minute.
package sender

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/weirhq/weir/internal/events"
)

const (
	// keepGood and keepBad are how long the answer about a token stands.
	keepGood = time.Minute
	keepBad  = 10 * time.Second
	// maxKept bounds the tokens that are remembered.
	maxKept = 1000
	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
	// maxReviews bounds the questions that are under way at once.
	maxReviews = 4
	prefix     = "system:serviceaccount:"
)

var (
	// ErrToken reports a request without a valid token.
	ErrToken = errors.New("a token of a service account for the audience \"" + events.TokenAudience + "\" is needed")
	// ErrAccount reports a token of an account that may not post events.
	ErrAccount = errors.New("this service account may not post events")
	// ErrUnknown reports that the API server could not be asked.
	ErrUnknown = errors.New("the token could not be reviewed")
)

// Options of a Guard.
type Options struct {
	// Review fills in the status of a review. Required.
	Review func(ctx context.Context, review *authenticationv1.TokenReview) error
	// Accounts may post events: <namespace>/<name>, or <namespace>/* for all
	// of a namespace. Required.
	Accounts []string
	Now      func() time.Time // nil is time.Now
}

// Guard checks the tokens of senders. It is safe for concurrent use.
type Guard struct {
	o       Options
	reviews chan struct{}

	mu   sync.Mutex
	kept map[[sha256.Size]byte]verdict
}

// verdict is what is known of a token.
type verdict struct {
	err   error // nil, ErrToken or ErrAccount
	until time.Time
}

// New returns a Guard. The error names an account that cannot be meant.
func New(o Options) (*Guard, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, a := range o.Accounts {
		namespace, name, ok := strings.Cut(a, "/")
		if !ok || namespace == "" || name == "" || strings.ContainsAny(namespace+name, "/:") || strings.Contains(namespace, "*") {
			return nil, fmt.Errorf("%q is no <namespace>/<name> of a service account, nor <namespace>/*", a)
		}
	}
	if len(o.Accounts) == 0 {
		return nil, errors.New("no service account may post events: name one at least")
	}
	return &Guard{o: o, reviews: make(chan struct{}, maxReviews), kept: map[[sha256.Size]byte]verdict{}}, nil
}

// Check says whether a request with this header may post an event. The error
// is ErrToken, ErrAccount or ErrUnknown.
func (g *Guard) Check(ctx context.Context, h http.Header) error {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return ErrToken
	}
	key := sha256.Sum256([]byte(token))
	now := g.o.Now()
	g.mu.Lock()
	v, known := g.kept[key]
	g.mu.Unlock()
	if known && now.Before(v.until) {
		return v.err
	}
	err := g.review(ctx, token)
	if errors.Is(err, ErrUnknown) {
		return err
	}
	v = verdict{err: err, until: now.Add(keepGood)}
	if err != nil {
		v.until = now.Add(keepBad)
	}
	g.keep(key, v, now)
	return err
}

func (g *Guard) keep(key [sha256.Size]byte, v verdict, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.kept) >= maxKept {
		for other, v := range g.kept {
			if v.err != nil || !now.Before(v.until) {
				delete(g.kept, other)
			}
		}
		if len(g.kept) >= maxKept {
			clear(g.kept)
		}
	}
	g.kept[key] = v
}

func (g *Guard) review(ctx context.Context, token string) error {
	select {
	case g.reviews <- struct{}{}:
		defer func() { <-g.reviews }()
	case <-ctx.Done():
		return ErrUnknown
	}
	r := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{events.TokenAudience}}}
	if err := g.o.Review(ctx, r); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !r.Status.Authenticated || !slices.Contains(r.Status.Audiences, events.TokenAudience) {
		return ErrToken
	}
	account, ok := strings.CutPrefix(r.Status.User.Username, prefix)
	namespace, name, _ := strings.Cut(account, ":")
	if !ok || !slices.Contains(g.o.Accounts, namespace+"/"+name) && !slices.Contains(g.o.Accounts, namespace+"/*") {
		return ErrAccount
	}
	return nil
}
