package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/auth"
	authgcp "github.com/fluxcd/pkg/auth/gcp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/upstream"
)

// googleHosts are the hosts that a workload identity is used with.
var googleHosts = regexp.MustCompile(`^([a-z0-9-]+\.)*(googleapis\.com|s3nsapis\.fr)(:443)?$`)

const readOnly = "https://www.googleapis.com/auth/devstorage.read_only"

// gcs is a bucket of Google Cloud Storage, by its JSON interface, version 1.
type gcs struct {
	client *http.Client
	base   string // of the bucket's objects, without the last slash
	token  func(context.Context) (*oauth2.Token, error)

	mu   sync.Mutex
	last *oauth2.Token
}

// newGoogle speaks to Google Cloud Storage: with the key of a service account or
// with a workload identity.
func newGoogle(a *access, logins *cloudlogin.Logins) (storage, error) {
	client, err := a.client()
	if err != nil {
		return nil, fmt.Errorf("spec.certSecretRef: %w", err)
	}
	if a.Insecure {
		return nil, fmt.Errorf("%w: spec.insecure does not go with the provider \"gcp\": a token is not sent without TLS", errSpec)
	}
	if a.Endpoint == "" || strings.ContainsAny(a.Endpoint, "/@?#") {
		return nil, fmt.Errorf("%w: %q: write host or host:port, such as \"storage.googleapis.com\"", errEndpoint, a.Endpoint)
	}
	g := &gcs{client: client, base: "https://" + a.Endpoint + "/storage/v1/b/" + url.PathEscape(a.Bucket) + "/o"}
	if a.Secret != nil {
		g.token, err = serviceAccountKey(a.Secret, client)
	} else if err = a.trusted(googleHosts); err == nil {
		g.token, err = googleWorkload(a.Identity, logins)
	}
	return g, err
}

// serviceAccountKey takes tokens for the key in the Secret. Other kinds of Google
// credentials may name files and programs, so they are refused.
func serviceAccountKey(secret map[string][]byte, client *http.Client) (func(context.Context) (*oauth2.Token, error), error) {
	text := secret["serviceaccount"]
	if len(text) == 0 {
		return nil, fmt.Errorf("spec.secretRef: %w: the secret has no key \"serviceaccount\"", errAuth)
	}
	config, err := google.JWTConfigFromJSON(text, readOnly)
	if err != nil {
		return nil, fmt.Errorf("spec.secretRef: %w: the key \"serviceaccount\" holds no key of a service account in JSON", errAuth) // the cause could quote it
	}
	secrets.Register(string(config.PrivateKey))
	return func(ctx context.Context) (*oauth2.Token, error) {
		return config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	}, nil
}

func googleWorkload(i cloudlogin.Identity, logins *cloudlogin.Logins) (func(context.Context) (*oauth2.Token, error), error) {
	options, err := logins.Options(i)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*oauth2.Token, error) {
		token, err := auth.GetAccessToken(ctx, authgcp.Provider{}, options...)
		if err != nil {
			return nil, err
		}
		if t, ok := token.(*authgcp.Token); ok {
			return &t.Token, nil
		}
		return nil, errors.New("the provider \"gcp\" gave something else")
	}, nil
}

// authorize adds a token, a new one only when the last has expired.
func (g *gcs) authorize(r *http.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.Valid() {
		token, err := g.token(r.Context())
		if err != nil {
			return fmt.Errorf("%w: no token: %w", errAuth, err)
		}
		secrets.Register(token.AccessToken)
		g.last = token
	}
	g.last.SetAuthHeader(r)
	return nil
}

func (g *gcs) get(ctx context.Context, address string, header map[string]string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if err := g.authorize(r); err != nil {
		return nil, err
	}
	resp, err := g.client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // a part of an explanation is better than none
		var answer struct {
			Error struct{ Message string }
		}
		if json.Unmarshal(text, &answer) == nil && answer.Error.Message != "" {
			text = []byte(answer.Error.Message)
		}
		return nil, statusError(resp.StatusCode, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// googlePage is an answer of "Objects: list".
type googlePage struct {
	Kind          string `json:"kind"`
	NextPageToken string `json:"nextPageToken"`
	Items         []struct {
		Name       string `json:"name"`
		ETag       string `json:"etag"`
		Generation string `json:"generation"`
		Size       string `json:"size"`
	} `json:"items"`
}

func (g *gcs) list(ctx context.Context, prefix string, found func(object) error) error {
	q := url.Values{"maxResults": {"1000"}, "fields": {"kind,nextPageToken,items(name,etag,generation,size)"}}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	for {
		resp, err := g.get(ctx, g.base+"?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		var page googlePage
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("%w: the list of objects: %w", errAnswer, err)
		}
		if page.Kind != "storage#objects" { // an empty answer of somebody else is no empty bucket
			return fmt.Errorf("%w: a list of objects was asked for, and it is of the kind %.40q", errAnswer, page.Kind)
		}
		for _, i := range page.Items {
			size, err := strconv.ParseInt(i.Size, 10, 64)
			if err != nil {
				return fmt.Errorf("%w: the object %q has the size %.32q", errAnswer, i.Name, i.Size)
			}
			if err := found(object{key: i.Name, etag: i.ETag, version: i.Generation, size: size}); err != nil {
				return err
			}
		}
		if page.NextPageToken == "" {
			return nil
		}
		q.Set("pageToken", page.NextPageToken)
	}
}

func (g *gcs) open(ctx context.Context, o object, offset int64) (io.ReadCloser, error) {
	header := map[string]string{"Accept-Encoding": "gzip"} // as it is stored, not unpacked by the server
	if offset > 0 {
		header["Range"] = fmt.Sprintf("bytes=%d-", offset)
	}
	q := url.Values{"alt": {"media"}, "ifGenerationMatch": {o.version}}
	resp, err := g.get(upstream.Limited(ctx, o.size+maxAnswer), g.base+"/"+url.PathEscape(o.key)+"?"+q.Encode(), header) //nolint:bodyclose // it is what is returned
	if err != nil {
		return nil, err
	}
	return from(resp.Body, resp.Header.Get("Content-Range"), offset)
}
