package receiver

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/expression"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
)

// authority issues tokens.
type authority struct {
	t      *testing.T
	server *httptest.Server
	key    *rsa.PrivateKey
	tokens *issuer.Verifier
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "one", Algorithm: "RS256"}}}
	a := &authority{t: t, server: httptest.NewServer(s), key: key}
	t.Cleanup(a.server.Close)
	s.SetIssuer(a.server.URL)
	a.tokens = issuer.New(issuer.Options{GoogleKeys: a.server.URL + "/keys", Loopback: true})
	return a
}

func (a *authority) token(change map[string]any) string {
	a.t.Helper()
	claims := map[string]any{"iss": a.server.URL, "aud": "notification-controller", "sub": "repo:org/app", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	text, err := json.Marshal(claims)
	if err != nil {
		a.t.Fatal(err)
	}
	return oidctest.SignIDToken(a.key, "one", "RS256", string(text))
}

// oidcSender calls a Receiver that takes tokens about the repositories of org.
func oidcSender(a *authority, token string, edit func(*notificationv1.Receiver)) sender {
	return sender{
		header: func(string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} },
		good:   `{"a":1}`,
		proof:  "Authorization",
		bare:   true,
		blind:  true,
		tokens: a.tokens,
		edit: func(r *notificationv1.Receiver) {
			r.Spec.SecretRef = nil
			r.Spec.OIDCProviders = []notificationv1.OIDCProvider{
				{IssuerURL: "https://issuer.invalid", Validations: []notificationv1.OIDCValidation{{Expression: "true", Message: "never"}}},
				{
					IssuerURL: a.server.URL,
					Variables: []notificationv1.OIDCVariable{
						{Name: "repo", Expression: "claims.sub.split(':')[1]"},
						{Name: "owner", Expression: "vars.repo.split('/')[0]"},
					},
					Validations: []notificationv1.OIDCValidation{
						{Expression: "vars.owner == 'org'", Message: "only repositories of org may call"},
						{Expression: "!has(claims.fork) || claims.fork == false", Message: "forks may not call"},
					},
				},
			}
			if edit != nil {
				edit(r)
			}
		},
	}
}

func TestGenericOIDC(t *testing.T) {
	a := newAuthority(t)
	table(t, "generic-oidc", oidcSender(a, a.token(nil), nil))
}

func TestGenericOIDCTokens(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	for name, tt := range map[string]struct {
		token string
		edit  func(*notificationv1.Receiver)
		want  int
		says  string
	}{
		"right":                  {a.token(nil), nil, 200, ""},
		"another owner":          {a.token(map[string]any{"sub": "repo:you/app"}), nil, 400, "only repositories of org may call"},
		"a fork":                 {a.token(map[string]any{"fork": true}), nil, 400, "forks may not call"},
		"both":                   {a.token(map[string]any{"sub": "repo:you/app", "fork": true}), nil, 400, "only repositories of org may call\nforks may not call"},
		"a claim is missing":     {a.token(map[string]any{"sub": nil}), nil, 400, `variable "repo"`},
		"a claim of no use":      {a.token(map[string]any{"sub": "x"}), nil, 400, `variable "repo"`},
		"another audience":       {a.token(map[string]any{"aud": "x"}), nil, 400, "another audience"},
		"an audience of its own": {a.token(map[string]any{"aud": "x"}), func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[1].Audience = "x" }, 200, ""},
		"of an unknown issuer":   {other.token(nil), nil, 400, "issuer"},
		"as of another issuer":   {other.token(map[string]any{"iss": a.server.URL}), nil, 400, "signature"},
		"the issuer is away":     {a.token(map[string]any{"iss": "https://issuer.invalid"}), nil, 503, ""},
		"its claims are wanted":  {a.token(nil), func(r *notificationv1.Receiver) { r.Spec.ResourceFilter = "claims.sub == 'repo:org/app'" }, 500, ""}, // reading the object fails here
	} {
		t.Run(name, func(t *testing.T) {
			s := oidcSender(a, tt.token, tt.edit)
			url, c := serve(t, "generic-oidc", s, Options{})
			code, text := call(t, url, s.header(""), strings.NewReader(s.good))
			if code != tt.want || !strings.Contains(text, tt.says) || (len(c.asked) == 1) != (tt.want == 200) {
				t.Errorf("got %d %q, want %d and %q", code, text, tt.want, tt.says)
			}
			if strings.Contains(text, "repo:") || strings.Contains(text, tt.token) {
				t.Errorf("the answer repeats the token: %s", text)
			}
		})
	}
}

func TestGenericOIDCSpecs(t *testing.T) {
	a := newAuthority(t)
	for name, tt := range map[string]struct {
		edit func(*notificationv1.Receiver)
		want error
	}{
		"right":                  {nil, nil},
		"no issuer":              {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders = nil }, errSpec},
		"an issuer twice":        {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[0].IssuerURL = a.server.URL }, errSpec},
		"no URL":                 {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[0].IssuerURL = "ftp://x" }, errSpec},
		"no validation":          {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[0].Validations = nil }, errSpec},
		"a broken validation":    {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[0].Validations[0].Expression = "claims." }, expression.ErrInvalid},
		"no condition":           {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[0].Validations[0].Expression = "claims.sub" }, expression.ErrInvalid},
		"a body, which it lacks": {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[0].Validations[0].Expression = "req.a == 1" }, expression.ErrInvalid},
		"a broken variable":      {func(r *notificationv1.Receiver) { r.Spec.OIDCProviders[1].Variables[0].Expression = "(" }, expression.ErrInvalid},
	} {
		r := &notificationv1.Receiver{Spec: notificationv1.ReceiverSpec{Type: "generic-oidc"}}
		oidcSender(a, "", tt.edit).edit(r)
		if _, err := typeOf(r, nil); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
