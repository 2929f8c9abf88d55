package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/expression"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
)

const (
	// maxIssuers bounds the issuers of one Receiver, maxConditions the
	// variables and the validations of each.
	maxIssuers    = 32
	maxConditions = 32
)

// genericOIDC takes any body that comes with a token of one of the Receiver's
// issuers, whose claims satisfy all validations.
type genericOIDC struct {
	tokens  *issuer.Verifier
	issuers map[string]*trusted
}

// trusted is one entry of spec.oidcProviders, compiled.
type trusted struct {
	audience    string
	variables   []variable
	validations []validation
}

type variable struct {
	name  string
	value *expression.Expression
}

type validation struct {
	holds   *expression.Expression
	message string
}

// tokenLanguage is what variables and validations may use.
var tokenLanguage = expression.NewLanguage([]string{"claims", "vars"})

func newGenericOIDC(r *notificationv1.Receiver, tokens *issuer.Verifier) (Type, error) {
	if n := len(r.Spec.OIDCProviders); n == 0 || n > maxIssuers {
		return nil, fmt.Errorf("%w: spec.oidcProviders has %d entries: 1 to %d are possible", errSpec, n, maxIssuers)
	}
	if r.Spec.SecretRef != nil {
		return nil, fmt.Errorf("%w: spec.secretRef has no meaning for this type: remove it", errSpec)
	}
	t := genericOIDC{tokens: tokens, issuers: map[string]*trusted{}}
	for i, p := range r.Spec.OIDCProviders {
		compiled, err := newTrusted(p)
		if err != nil {
			return nil, fmt.Errorf("spec.oidcProviders[%d]: %w", i, err)
		}
		if t.issuers[p.IssuerURL] != nil {
			return nil, fmt.Errorf("spec.oidcProviders[%d]: %w: %q is there twice", i, errSpec, p.IssuerURL)
		}
		t.issuers[p.IssuerURL] = compiled
	}
	return t, nil
}

func newTrusted(p notificationv1.OIDCProvider) (*trusted, error) {
	if !strings.HasPrefix(p.IssuerURL, "https://") && !strings.HasPrefix(p.IssuerURL, "http://") {
		return nil, fmt.Errorf("issuerURL: %w: %q is no http or https URL", errSpec, p.IssuerURL)
	}
	if n := len(p.Validations); n == 0 || n > maxConditions {
		return nil, fmt.Errorf("validations: %w: there are %d: 1 to %d are possible; without any, everybody whom the issuer knows could call", errSpec, n, maxConditions)
	}
	if n := len(p.Variables); n > maxConditions {
		return nil, fmt.Errorf("variables: %w: there are %d, more than %d", errSpec, n, maxConditions)
	}
	t := &trusted{audience: p.GetAudience()}
	for i, v := range p.Variables {
		value, err := tokenLanguage.CompileValue(v.Expression)
		if err != nil {
			return nil, fmt.Errorf("variables[%d] (%q): %w", i, v.Name, err)
		}
		t.variables = append(t.variables, variable{v.Name, value})
	}
	for i, v := range p.Validations {
		holds, err := tokenLanguage.Compile(v.Expression)
		if err != nil {
			return nil, fmt.Errorf("validations[%d]: %w", i, err)
		}
		t.validations = append(t.validations, validation{holds, v.Message})
	}
	return t, nil
}

// Authenticate looks at the token's claims when its signature is verified, and
// at nothing but the issuer's name before that.
func (g genericOIDC) Authenticate(ctx context.Context, r Request) (Claims, error) {
	token, err := bearerOf(r.Header)
	if err != nil {
		return nil, err
	}
	name, err := issuer.Of(token)
	if err != nil {
		return nil, tokenError(err)
	}
	t := g.issuers[name]
	if t == nil {
		return nil, fmt.Errorf("%w: the issuer is not in spec.oidcProviders", ErrSignature)
	}
	claims, err := g.tokens.Verify(ctx, name, t.audience, token)
	if err != nil {
		return nil, tokenError(err)
	}
	if err := t.validate(ctx, claims); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return claims, nil
}

// validate evaluates the variables in their order, and tells the messages of
// all validations that do not hold.
func (t *trusted) validate(ctx context.Context, claims map[string]any) error {
	vars := map[string]any{}
	data := map[string]any{"claims": claims, "vars": vars}
	for _, v := range t.variables {
		value, err := v.value.Value(ctx, data)
		if err != nil {
			return fmt.Errorf("variable %q cannot be evaluated", v.name) // the reason may repeat claims
		}
		vars[v.name] = value
	}
	var problems []error
	for _, v := range t.validations {
		holds, err := v.holds.Holds(ctx, data)
		if err != nil || !holds {
			problems = append(problems, errors.New(v.message))
		}
	}
	return errors.Join(problems...)
}

func (genericOIDC) Read(Request) (Call, error) { return Call{}, nil }

// bearerOf returns the token of the header Authorization (RFC 6750).
func bearerOf(h http.Header) (string, error) {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fmt.Errorf("%w: the header Authorization holds no bearer token", ErrSignature)
	}
	return token, nil
}
