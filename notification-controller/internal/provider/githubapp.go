package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/weirhq/weir/internal/githubapp"
)

// appToken returns what gives tokens for the installation of a GitHub App that the
// Secret describes. They come from api, which is the repository's, unless the Secret
// names another one.
func appToken(t Target, api *url.URL) (func(context.Context) (string, error), error) {
	data := maps.Clone(t.GitHubApp)
	if strings.TrimSpace(string(data[githubapp.KeyBaseURL])) == "" {
		data[githubapp.KeyBaseURL] = []byte(api.String())
	}
	app, err := githubapp.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: the secret: %w", ErrInvalid, err)
	}
	return func(ctx context.Context) (string, error) {
		token, err := t.Apps.Get(ctx, app, t.Client.Transport)
		if busy, ok := errors.AsType[*githubapp.Busy](err); ok {
			return "", &Failure{After: busy.After, Err: err}
		}
		return token, err
	}, nil
}
