// Package githubapp logs in to GitHub as an installation of an App.
//
// The answers come from an address that a Secret names, so they are read to a bound
// and no redirect takes the App's token elsewhere.
package githubapp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/secrets"
)

// The keys of a Secret that describes an App.
const (
	KeyID             = "githubAppID"
	KeyInstallation   = "githubAppInstallationID"
	KeyOwner          = "githubAppInstallationOwner"
	KeyPrivateKey     = "githubAppPrivateKey"
	KeyBaseURL        = "githubAppBaseURL"
	defaultBaseURL    = "https://api.github.com"
	maxAnswer         = 1 << 20 // bytes
	maxMessage        = 512     // bytes of GitHub's words in an error
	jwtDrift          = time.Minute
	jwtLife           = 3 * time.Minute
	maxRetryAfter     = time.Hour
	defaultRetryAfter = time.Minute
)

// Username goes with a token where basic authentication is wanted.
const Username = "x-access-token"

var (
	// ErrConfig is wrapped when the Secret describes no App. The text names the key.
	ErrConfig = errors.New("GitHub App")
	// ErrLogin is wrapped when GitHub gives no token.
	ErrLogin = errors.New("logging in as a GitHub App")
)

// Busy is wrapped when GitHub asks to be left alone.
type Busy struct{ After time.Duration }

func (b *Busy) Error() string { return fmt.Sprintf("asked to wait for %s", b.After) }

// App is an installation of a GitHub App.
type App struct {
	id           int64
	installation int64  // 0: found by the owner
	owner        string // organization or user
	base         string // of the API, without a slash at its end
	key          *rsa.PrivateKey
	pem          []byte
}

// Described tells whether a Secret means to describe an App.
func Described(data map[string][]byte) bool { return len(data[KeyID]) > 0 }

// Parse reads an App from a Secret.
func Parse(data map[string][]byte) (*App, error) {
	value := func(key string) string { return strings.TrimSpace(string(data[key])) }
	number := func(key string) (int64, error) {
		n, err := strconv.ParseInt(value(key), 10, 64)
		if err != nil || n <= 0 {
			return 0, fmt.Errorf("%w: key %q is no number", ErrConfig, key)
		}
		return n, nil
	}
	a := &App{owner: value(KeyOwner), base: strings.TrimRight(value(KeyBaseURL), "/"), pem: data[KeyPrivateKey]}
	var err error
	switch {
	case value(KeyID) == "":
		return nil, fmt.Errorf("%w: key %q is missing", ErrConfig, KeyID)
	case value(KeyInstallation) == "" && a.owner == "":
		return nil, fmt.Errorf("%w: key %q or %q is missing", ErrConfig, KeyInstallation, KeyOwner)
	case value(KeyInstallation) != "" && a.owner != "":
		return nil, fmt.Errorf("%w: both %q and %q are set: keep one", ErrConfig, KeyInstallation, KeyOwner)
	case value(KeyPrivateKey) == "":
		return nil, fmt.Errorf("%w: key %q is missing", ErrConfig, KeyPrivateKey)
	}
	if a.id, err = number(KeyID); err != nil {
		return nil, err
	}
	if a.owner == "" {
		if a.installation, err = number(KeyInstallation); err != nil {
			return nil, err
		}
	}
	if a.key, err = parseKey(a.pem); err != nil {
		return nil, err
	}
	if a.base == "" {
		a.base = defaultBaseURL
	}
	u, err := url.Parse(a.base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: key %q is no http or https URL", ErrConfig, KeyBaseURL)
	}
	return a, nil
}

func parseKey(data []byte) (*rsa.PrivateKey, error) {
	bad := fmt.Errorf("%w: key %q is no RSA private key in PEM", ErrConfig, KeyPrivateKey) // the cause may repeat parts of it
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, bad
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := any.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, bad
	}
	return key, nil
}

// Identity names the installation and its key, with nothing of the key readable.
func (a *App) Identity() string {
	return fmt.Sprintf("github-app %d %d %q %q %x", a.id, a.installation, a.owner, a.base, sha256.Sum256(a.pem))
}

// Token is an access token of an installation.
type Token struct {
	Value   string
	Expires time.Time
}

// Token asks GitHub for a new token, through rt. Errors wrap ErrLogin, and Busy
// where GitHub asks to wait.
func (a *App) Token(ctx context.Context, rt http.RoundTripper) (Token, error) {
	c := &http.Client{Transport: rt, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	installation := a.installation
	if installation == 0 {
		var err error
		if installation, err = a.find(ctx, c); err != nil {
			return Token{}, err
		}
	}
	var answer struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	if err := a.call(ctx, c, http.MethodPost, fmt.Sprintf("/app/installations/%d/access_tokens", installation), &answer); err != nil {
		return Token{}, err
	}
	if answer.Token == "" || strings.ContainsAny(answer.Token, "\r\n") {
		return Token{}, fmt.Errorf("%w: the answer of %q has no token", ErrLogin, a.base)
	}
	return Token{Value: answer.Token, Expires: answer.Expires}, nil
}

// find returns the installation of the owner, an organization or a user.
func (a *App) find(ctx context.Context, c *http.Client) (int64, error) {
	var answer struct {
		ID int64 `json:"id"`
	}
	var first error
	for _, kind := range []string{"orgs", "users"} {
		err := a.call(ctx, c, http.MethodGet, "/"+kind+"/"+url.PathEscape(a.owner)+"/installation", &answer)
		if err == nil && answer.ID > 0 {
			return answer.ID, nil
		}
		if _, busy := errors.AsType[*Busy](err); busy {
			return 0, err
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = ErrLogin
	}
	return 0, fmt.Errorf("the installation of %q: %w", a.owner, first)
}

// call asks the API as the App and decodes the answer into out.
func (a *App) call(ctx context.Context, c *http.Client, method, path string, out any) error {
	jwt, err := a.jwt(time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLogin, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return fmt.Errorf("%w: key %q is no URL", ErrConfig, KeyBaseURL)
	}
	req.Header.Set("Authorization", "Bearer "+jwt)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("User-Agent", "weir")
	resp, err := c.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return fmt.Errorf("%w: %q cannot be reached: %w", ErrLogin, a.base, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: reading the answer of %q: %w", ErrLogin, a.base, err)
	case len(body) > maxAnswer:
		return fmt.Errorf("%w: the answer of %q has more than %d bytes", ErrLogin, a.base, maxAnswer)
	case resp.StatusCode/100 != 2:
		return a.refused(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w: the answer of %q is not that of GitHub's API: check key %q", ErrLogin, a.base, KeyBaseURL)
	}
	return nil
}

// refused says what GitHub says.
func (a *App) refused(resp *http.Response, body []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // not JSON: there is the status
	message := secrets.Redact(said.Message)
	message = strings.ToValidUTF8(message[:min(len(message), maxMessage)], "")
	err := fmt.Errorf("%w: %q answers %q %q", ErrLogin, a.base, resp.Status, message)
	after := resp.Header.Get("Retry-After")
	limited := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusForbidden && (after != "" || resp.Header.Get("X-RateLimit-Remaining") == "0")
	if !limited {
		return err
	}
	wait := defaultRetryAfter
	if n, bad := strconv.Atoi(after); bad == nil {
		wait = time.Duration(min(max(n, 1), int(maxRetryAfter/time.Second))) * time.Second
	} else if n, bad := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); bad == nil {
		wait = min(max(time.Until(time.Unix(n, 0)), time.Second), maxRetryAfter)
	}
	return fmt.Errorf("%w: %w", err, &Busy{After: wait})
}

// jwt is the App's own token (RFC 7519 with RS256), good for some minutes.
func (a *App) jwt(now time.Time) (string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	claims, err := json.Marshal(map[string]any{"iat": now.Add(-jwtDrift).Unix(), "exp": now.Add(jwtLife).Unix(), "iss": strconv.FormatInt(a.id, 10)})
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	b.WriteString(encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims))
	sum := sha256.Sum256(b.Bytes())
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("key %q cannot sign: %w", KeyPrivateKey, err)
	}
	jwt := b.String() + "." + encode(signature)
	secrets.Register(jwt) // whoever is asked could repeat it
	return jwt, nil
}
