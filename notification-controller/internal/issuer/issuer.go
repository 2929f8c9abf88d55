// Package issuer verifies the tokens of people and programs elsewhere: JSON
// Web Tokens (RFC 7519) that are signed with a key their issuer publishes.
//
// An issuer is found by OpenID Connect Discovery, and its keys where that
// says. Only signatures with a key pair count: "none" and shared secrets are
// refused whatever a token or an issuer claims. Keys are kept for an hour, and
// read again when a token names another one, but no URL is read more often
// than every ten seconds, whatever the number of tokens.
package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	google     = "https://accounts.google.com"
	googleKeys = "https://www.googleapis.com/oauth2/v3/certs"

	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
	// maxIssuers bounds the issuers that are remembered.
	maxIssuers = 100
	// keep is how long an issuer's description and keys are used.
	keep = time.Hour
)

// algorithms are the signatures that count, all of them with a key pair.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

var (
	// ErrToken reports a token that does not prove what it claims.
	ErrToken = errors.New("the token is not valid")
	// ErrUnreachable reports an issuer whose keys cannot be had; it may pass.
	ErrUnreachable = errors.New("the keys of the issuer cannot be read")
)

// Options of a Verifier. The zero value is for use; the rest is for tests.
type Options struct {
	Now        func() time.Time
	GoogleKeys string // URL of the keys of Google; "" is Google's
	Loopback   bool   // issuers may be at loopback addresses
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	o      Options
	client *http.Client

	mu    sync.Mutex
	known map[string]*source
}

// source is what is known of an issuer.
type source struct {
	keys       oidc.KeySet
	algorithms []string
	read       time.Time
}

// New returns a Verifier that knows no issuer yet.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.GoogleKeys == "" {
		o.GoogleKeys = googleKeys
	}
	return &Verifier{o: o, client: newClient(o), known: map[string]*source{}}
}

// Of returns the issuer that a token names. Nothing of the token is verified:
// the name serves to choose the issuer to verify it with.
func Of(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return "", fmt.Errorf("%w: it is no JSON Web Token", ErrToken)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("%w: it is no JSON Web Token", ErrToken)
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Issuer == "" {
		return "", fmt.Errorf("%w: it names no issuer", ErrToken)
	}
	return claims.Issuer, nil
}

// Verify returns the claims of a token of the named issuer for an audience.
// The error is ErrToken or ErrUnreachable.
func (v *Verifier) Verify(ctx context.Context, issuer, audience, token string) (map[string]any, error) {
	s, err := v.source(issuer, func() (*source, error) { return v.discover(ctx, issuer) })
	if err != nil {
		return nil, err
	}
	return v.check(ctx, s, issuer, audience, token)
}

// VerifyGoogle is Verify for tokens of Google's accounts.
func (v *Verifier) VerifyGoogle(ctx context.Context, audience, token string) (map[string]any, error) {
	s, err := v.source(google, func() (*source, error) {
		keys := oidc.NewRemoteKeySet(oidc.ClientContext(ctx, v.client), v.o.GoogleKeys)
		return &source{keys: keys, algorithms: []string{oidc.RS256}}, nil
	})
	if err != nil {
		return nil, err
	}
	return v.check(ctx, s, google, audience, token)
}

func (v *Verifier) check(ctx context.Context, s *source, issuer, audience, token string) (map[string]any, error) {
	if len(token) > maxToken || audience == "" {
		return nil, fmt.Errorf("%w: it is too long, or there is no audience to compare", ErrToken)
	}
	seen := &observed{KeySet: s.keys}
	verified, err := oidc.NewVerifier(issuer, seen, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: s.algorithms, Now: v.o.Now,
	}).Verify(ctx, token)
	if errors.Is(seen.err, ErrUnreachable) || ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %q", ErrUnreachable, issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrToken, reason(err))
	}
	claims := map[string]any{}
	if err := verified.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: its claims are no JSON object", ErrToken)
	}
	return claims, nil
}

// reason says what is wrong without repeating anything of the token.
func reason(err error) string {
	text := err.Error()
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		return "it has expired"
	}
	for part, says := range map[string]string{
		"malformed jwt":      "it is no JSON Web Token with one of the issuer's signature algorithms",
		"signature":          "its signature is wrong",
		"different provider": "it is of another issuer",
		"expected audience":  "it is for another audience",
		"nbf":                "it is not valid yet",
	} {
		if strings.Contains(text, part) {
			return says
		}
	}
	return "it cannot be read"
}

// observed remembers why a signature could not be verified; the library turns
// the reason into text.
type observed struct {
	oidc.KeySet
	err error
}

func (o *observed) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := o.KeySet.VerifySignature(ctx, token)
	o.err = err
	return payload, err
}

// source returns what is known of an issuer, or finds it out.
func (v *Verifier) source(issuer string, find func() (*source, error)) (*source, error) {
	now := v.o.Now()
	v.mu.Lock()
	s := v.known[issuer]
	v.mu.Unlock()
	if s != nil && now.Sub(s.read) < keep {
		return s, nil
	}
	s, err := find() // calls at the same time share the requests, see page
	if err != nil {
		return nil, err
	}
	s.read = now
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxIssuers {
		oldest := issuer
		for name, other := range v.known {
			if o := v.known[oldest]; o == nil || other.read.Before(o.read) {
				oldest = name
			}
		}
		delete(v.known, oldest)
	}
	v.known[issuer] = s
	return s, nil
}

// discover reads the issuer's description.
func (v *Verifier) discover(ctx context.Context, issuer string) (*source, error) {
	if u, err := url.Parse(issuer); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: the issuer is no http or https URL", ErrToken)
	}
	ctx = oidc.ClientContext(ctx, v.client)
	p, err := oidc.NewProvider(ctx, issuer)
	if err != nil { // its text quotes what the server answered
		return nil, fmt.Errorf("%w: %q: its discovery document cannot be read, or names another issuer", ErrUnreachable, issuer)
	}
	var described struct {
		Keys       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := p.Claims(&described); err != nil {
		return nil, fmt.Errorf("%w: %q: its discovery document cannot be read", ErrUnreachable, issuer)
	}
	keys, err := url.Parse(described.Keys)
	if err != nil || keys.Scheme != "https" && keys.Scheme != "http" || strings.HasPrefix(issuer, "https:") && keys.Scheme != "https" {
		return nil, fmt.Errorf("%w: %q: its jwks_uri is no https URL", ErrUnreachable, issuer)
	}
	s := &source{keys: oidc.NewRemoteKeySet(ctx, described.Keys)}
	for _, a := range described.Algorithms {
		if slices.Contains(algorithms, a) {
			s.algorithms = append(s.algorithms, a)
		}
	}
	return s, nil // without algorithms, the library takes RS256
}
