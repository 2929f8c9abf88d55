package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/gcp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/weirhq/weir/internal/secrets"
)

// pubsub publishes the event as JSON on a topic; the Secret's headers become
// the message's attributes.
// https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish
type pubsub struct {
	to         *url.URL
	client     *http.Client
	attributes map[string]string
}

type pubsubRequest struct {
	Messages []pubsubMessage `json:"messages"`
}

type pubsubMessage struct {
	Data       []byte            `json:"data"` // base64 in JSON
	Attributes map[string]string `json:"attributes,omitempty"`
}

const pubsubScope = "https://www.googleapis.com/auth/pubsub"

var (
	projectID = regexp.MustCompile(`^[a-z0-9.:-]{1,100}$`)
	topicID   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
)

func newGooglePubSub(t Target) (Sender, error) {
	if !projectID.MatchString(t.Address) {
		return nil, fmt.Errorf("%w: the address is no id of a Google Cloud project", ErrInvalid)
	}
	if err := t.needChannel("the topic"); err != nil {
		return nil, err
	}
	if !topicID.MatchString(t.Channel) {
		return nil, fmt.Errorf("%w: spec.channel %q is no id of a topic", ErrInvalid, t.Channel)
	}
	if err := t.Identity.check(t.Token); err != nil {
		return nil, err
	}
	token, err := t.googleToken()
	if err != nil {
		return nil, err
	}
	to := &url.URL{Scheme: "https", Host: "pubsub.googleapis.com"}
	to = to.JoinPath("v1/projects", t.Address, "topics", url.PathEscape(t.Channel)+":publish")
	return &pubsub{to: to, client: withToken(t.Client, token), attributes: t.Headers}, nil
}

// googleToken gets access tokens: for the service account whose JSON key is the
// Secret's token, else for the identity. Of the kinds of such JSON only the
// key is accepted: others name files, programs and addresses to ask.
func (t *Target) googleToken() (func(context.Context) (string, error), error) {
	if t.Token == "" {
		return func(ctx context.Context) (string, error) {
			token, err := auth.GetAccessToken(ctx, gcp.Provider{}, t.options(pubsubScope)...)
			if err != nil {
				return "", err
			}
			return token.(*gcp.Token).AccessToken, nil
		}, nil
	}
	config, err := google.JWTConfigFromJSON([]byte(t.Token), pubsubScope)
	if err != nil {
		return nil, fmt.Errorf("%w: the key \"token\" of the secret is no JSON key of a service account", ErrInvalid)
	}
	if _, err := parseAddress(config.TokenURL); err != nil {
		return nil, fmt.Errorf("%w: the key \"token\" of the secret has no token_uri that can be used", ErrInvalid)
	}
	secrets.Register(string(config.PrivateKey), config.PrivateKeyID)
	client := t.Client
	var once sync.Once
	var source oauth2.TokenSource
	return func(ctx context.Context) (string, error) {
		// Tokens outlive the attempt that first needed one.
		once.Do(func() {
			source = config.TokenSource(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{
				Transport: client.Transport, CheckRedirect: client.CheckRedirect, Timeout: defaultTimeout,
			}))
		})
		token, err := source.Token()
		if err != nil {
			return "", googleTokenError(err)
		}
		if token.AccessToken == "" {
			return "", errors.New("getting a token of the service account: the answer holds none")
		}
		return token.AccessToken, nil
	}, nil
}

// googleTokenError says what Google's token endpoint answered, without the
// address, which comes from a Secret.
func googleTokenError(err error) error {
	if refused, ok := err.(*oauth2.RetrieveError); ok { //nolint:errorlint // as the library documents it
		return fmt.Errorf("getting a token of the service account: answered %d%s", refused.Response.StatusCode, quote(refused.Body))
	}
	return fmt.Errorf("getting a token of the service account: %w", plain(context.Background(), err))
}

func (p *pubsub) Send(ctx context.Context, event *eventv1.Event) error {
	data, err := json.Marshal(event)
	if err != nil {
		return Final(fmt.Errorf("encoding the event: %w", err))
	}
	_, err = postJSON(ctx, p.client, p.to, pubsubRequest{Messages: []pubsubMessage{{Data: data, Attributes: p.attributes}}}, nil)
	return err
}
