package provider

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fluxcd/pkg/cache"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/weirhq/weir/internal/secrets"
)

// githubApp gets tokens for an installation of a GitHub App.
// https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
type githubApp struct {
	client                  *http.Client
	api                     *url.URL
	id, owner, installation string
	signer                  jose.Signer
	identity                identity
	key                     string // of the token cache
}

// appToken is a token of an installation.
type appToken struct {
	Value   string    `json:"token"`
	Expires time.Time `json:"expires_at"`
}

// GetDuration implements cache.Token.
func (a *appToken) GetDuration() time.Duration { return time.Until(a.Expires) }

// newGitHubApp checks the keys of the Secret; api is that of the repository,
// which the key githubAppBaseURL overrides.
func newGitHubApp(t Target, api *url.URL) (*githubApp, error) {
	get := func(key string) string { return strings.TrimSpace(string(t.GitHubApp[key])) }
	a := &githubApp{
		client: t.Client, api: api, identity: t.Identity,
		id: get("githubAppID"), owner: get("githubAppInstallationOwner"), installation: get("githubAppInstallationID"),
	}
	if base := get("githubAppBaseURL"); base != "" {
		u, err := parseAddress(base)
		if err != nil {
			return nil, fmt.Errorf("key \"githubAppBaseURL\" of the secret: %w", err)
		}
		a.api = u
	}
	if _, err := strconv.ParseInt(a.id, 10, 64); err != nil {
		return nil, fmt.Errorf("%w: the key \"githubAppID\" of the secret is no number", ErrInvalid)
	}
	if (a.owner == "") == (a.installation == "") {
		return nil, fmt.Errorf("%w: the secret needs one of the keys \"githubAppInstallationID\" and \"githubAppInstallationOwner\"", ErrInvalid)
	}
	if _, err := strconv.ParseInt(a.installation, 10, 64); a.owner == "" && err != nil {
		return nil, fmt.Errorf("%w: the key \"githubAppInstallationID\" of the secret is no number", ErrInvalid)
	}
	key, err := rsaKey(t.GitHubApp["githubAppPrivateKey"])
	if err != nil {
		return nil, err
	}
	a.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("%w: the key \"githubAppPrivateKey\" of the secret cannot sign", ErrInvalid)
	}
	sum := sha256.New()
	for _, part := range []string{a.api.String(), a.id, a.owner, a.installation, get("githubAppPrivateKey")} {
		fmt.Fprintf(sum, "%q,", part)
	}
	a.key = "github-app:" + hex.EncodeToString(sum.Sum(nil))
	return a, nil
}

// rsaKey reads a PEM key, of PKCS #1 as GitHub gives them out, or #8.
func rsaKey(text []byte) (*rsa.PrivateKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if any, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := any.(*rsa.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: the key \"githubAppPrivateKey\" of the secret holds no RSA key in PEM", ErrInvalid)
}

// token returns a token of the installation, of the cache if it has one.
func (a *githubApp) token(ctx context.Context) (string, error) {
	if a.identity.tokens == nil {
		t, err := a.newToken(ctx)
		if err != nil {
			return "", err
		}
		return t.Value, nil
	}
	i := a.identity.involved
	t, _, err := a.identity.tokens.GetOrSet(ctx, a.key, func(ctx context.Context) (cache.Token, error) { return a.newToken(ctx) },
		cache.WithInvolvedObject(i.Kind, i.Name, i.Namespace, i.Operation))
	if err != nil {
		return "", err
	}
	return t.(*appToken).Value, nil
}

func (a *githubApp) newToken(ctx context.Context) (*appToken, error) {
	now := time.Now().Truncate(time.Second)
	claims := jwt.Claims{
		Issuer: a.id, IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), // clocks differ
		Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute)),
	}
	signed, err := jwt.Signed(a.signer).Claims(claims).Serialize()
	if err != nil {
		return nil, fmt.Errorf("signing as GitHub App %s: %w", a.id, err)
	}
	secrets.Register(signed)
	h := githubHeader()
	h.Set("Authorization", "Bearer "+signed)
	installation, err := a.find(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("looking up the installation of GitHub App %s at %q: %w", a.id, a.owner, err)
	}
	answer, err := do(ctx, a.client, http.MethodPost, a.api.JoinPath("app/installations", installation, "access_tokens"), nil, h, maxApp)
	if err != nil {
		return nil, fmt.Errorf("getting a token as GitHub App %s: %w", a.id, err)
	}
	t := &appToken{}
	if err := json.Unmarshal(answer, t); err != nil || t.Value == "" || t.Expires.IsZero() {
		return nil, fmt.Errorf("getting a token as GitHub App %s: POST %s: the answer holds no token", a.id, host(a.api))
	}
	secrets.Register(t.Value)
	return t, nil
}

// maxApp bounds an answer about an installation, in bytes: it lists all
// permissions, and the repositories if they were selected.
const maxApp = 1 << 20

// find returns the number of the installation, which is looked up where the
// Secret names its owner: an organization or a user.
func (a *githubApp) find(ctx context.Context, h http.Header) (string, error) {
	if a.installation != "" {
		return a.installation, nil
	}
	var found struct {
		ID int64 `json:"id"`
	}
	err := getJSON(ctx, a.client, a.api.JoinPath("orgs", url.PathEscape(a.owner), "installation"), h, &found)
	if codeOf(err) == http.StatusNotFound {
		err = getJSON(ctx, a.client, a.api.JoinPath("users", url.PathEscape(a.owner), "installation"), h, &found)
	}
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(found.ID, 10), nil
}
