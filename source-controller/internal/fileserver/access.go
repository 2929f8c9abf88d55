package fileserver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// Audience is what the tokens must be made for. A token for it is worth nothing at
// the API server.
const Audience = "weir-artifacts"

// What is asked of the API server, and for how long its answers hold. So long may a
// right be used that was taken away, and must wait who was given one.
const (
	grantedFor    = time.Minute
	refusedFor    = 10 * time.Second
	maxAnswers    = 4096 // of each kind
	maxReviews    = 8    // at once
	reviewTimeout = 10 * time.Second
	maxToken      = 16 << 10 // bytes
)

// resources names the kinds whose artifacts are served, by the first part of the
// path.
var resources = map[string]string{
	strings.ToLower(sourcev1.GitRepositoryKind):  "gitrepositories",
	strings.ToLower(sourcev1.OCIRepositoryKind):  "ocirepositories",
	strings.ToLower(sourcev1.BucketKind):         "buckets",
	strings.ToLower(sourcev1.HelmRepositoryKind): "helmrepositories",
	strings.ToLower(sourcev1.HelmChartKind):      "helmcharts",
}

// errRefused says that the API server does not know the token, or not for Audience.
var errRefused = errors.New("the token is not valid here")

// Guard lets through who has a token of a service account that may get the artifact:
// the verb "get" on the subresource "artifact" of the object that published it. It
// asks the API server, and remembers answers for a minute. What does not exist is
// refused like what is not allowed.
type Guard struct {
	client  client.Client
	log     logr.Logger
	next    http.Handler
	reviews chan struct{}
	users   *cache.LRUExpireCache // hash of a token → *authenticationv1.UserInfo, nil for refused
	rights  *cache.LRUExpireCache // right → bool
}

// right is what somebody wants to do. It is a key of a map.
type right struct {
	user                      [sha256.Size]byte
	resource, namespace, name string
}

// NewGuard returns a Guard in front of next. The client creates token reviews and
// subject access reviews.
func NewGuard(c client.Client, log logr.Logger, next http.Handler) *Guard {
	return &Guard{
		client: c, log: log, next: next, reviews: make(chan struct{}, maxReviews),
		users: cache.NewLRUExpireCache(maxAnswers), rights: cache.NewLRUExpireCache(maxAnswers),
	}
}

// ServeHTTP implements http.Handler. "/" stays open for readiness probes.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		g.next.ServeHTTP(w, r)
		return
	}
	token, ok := bearerToken(r)
	if !ok {
		challenge(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	user, err := g.user(ctx, token)
	if errors.Is(err, errRefused) {
		challenge(w)
		return
	}
	allowed := false
	if err == nil {
		allowed, err = g.allowed(ctx, user, r.URL.Path)
	}
	switch {
	case err != nil:
		g.log.Error(err, "a request for an artifact could not be authorized")
		http.Error(w, "the request cannot be authorized now", http.StatusServiceUnavailable)
	case !allowed:
		http.Error(w, fmt.Sprintf("%q may not get this artifact: that takes the verb get on the subresource artifact of its source", user.Username), http.StatusForbidden)
	default:
		g.next.ServeHTTP(w, r)
	}
}

func challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="artifacts"`)
	http.Error(w, fmt.Sprintf("a token of a service account for the audience %q is needed", Audience), http.StatusUnauthorized)
}

// bearerToken returns the token of r, if it looks like one of a service account: a JWT.
// Others cost no question.
func bearerToken(r *http.Request) (string, bool) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token, ok && len(token) <= maxToken && strings.Count(token, ".") == 2
}

// user asks whose token it is.
func (g *Guard) user(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	key := sha256.Sum256([]byte(token))
	if known, ok := g.users.Get(key); ok {
		if user := known.(*authenticationv1.UserInfo); user != nil {
			return user, nil
		}
		return nil, errRefused
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}
	if err := g.ask(ctx, review); err != nil {
		return nil, fmt.Errorf("token review: %w", err)
	}
	s := &review.Status
	if !s.Authenticated || len(s.Audiences) != 1 || s.Audiences[0] != Audience {
		g.users.Add(key, (*authenticationv1.UserInfo)(nil), refusedFor)
		return nil, errRefused
	}
	g.users.Add(key, &s.User, grantedFor)
	return &s.User, nil
}

// allowed asks whether user may get the artifact at path.
func (g *Guard) allowed(ctx context.Context, user *authenticationv1.UserInfo, path string) (bool, error) {
	steps := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(steps) != 4 || resources[steps[0]] == "" {
		return false, nil
	}
	key := right{identify(user), resources[steps[0]], steps[1], steps[2]}
	if known, ok := g.rights.Get(key); ok {
		return known.(bool), nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: sourcev1.GroupVersion.Group, Version: sourcev1.GroupVersion.Version, Verb: "get",
			Resource: key.resource, Subresource: "artifact", Namespace: key.namespace, Name: key.name,
		},
	}}
	if err := g.ask(ctx, review); err != nil {
		return false, fmt.Errorf("subject access review: %w", err)
	}
	allowed := review.Status.Allowed && !review.Status.Denied
	ttl := refusedFor
	if allowed {
		ttl = grantedFor
	}
	g.rights.Add(key, allowed, ttl)
	return allowed, nil
}

// ask creates a review, few at once: whoever sends tokens that nobody knows must not
// keep the API server busy.
func (g *Guard) ask(ctx context.Context, review client.Object) error {
	select {
	case g.reviews <- struct{}{}:
		defer func() { <-g.reviews }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return g.client.Create(ctx, review)
}

// identify stands for a user with all that rights can depend on.
func identify(u *authenticationv1.UserInfo) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", u.Username, u.UID, u.Groups, u.Extra))
}
