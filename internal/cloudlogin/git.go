package cloudlogin

import (
	"context"
	"fmt"
	"net/url"
	"regexp"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"

	"github.com/weirhq/weir/internal/secrets"
)

// gitProvider is how to log in to the Git servers of one cloud provider.
type gitProvider struct {
	auth.GitCredentialsProvider
	hosts *regexp.Regexp // whole names of its Git servers
	what  string         // they are called
}

var gitProviders = map[string]gitProvider{
	aws.ProviderName:   {aws.Provider{}, regexp.MustCompile(`^git-codecommit(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`), "AWS CodeCommit"},
	azure.ProviderName: {azure.Provider{}, regexp.MustCompile(`^(dev\.azure\.com|[a-z0-9-]+\.visualstudio\.com)$`), "Azure DevOps"},
}

// Git returns credentials of a provider, "aws" or "azure", for the repository at u.
// Errors wrap ErrRepository, ErrLogin or ErrGate.
func (l *Logins) Git(ctx context.Context, provider string, u *url.URL, i Identity) (*auth.GitCredentials, error) {
	p, known := gitProviders[provider]
	switch {
	case !known:
		return nil, fmt.Errorf("%w: the provider %q has no Git servers", ErrRepository, provider)
	case u.Scheme != "https" || u.Port() != "" && u.Port() != "443" || !p.hosts.MatchString(u.Hostname()):
		return nil, fmt.Errorf("%w: %s://%s is not %s over https: the credentials of the provider %q go nowhere else", ErrRepository, u.Scheme, u.Host, p.what, provider)
	}
	options, err := l.Options(i)
	if err != nil {
		return nil, err
	}
	c, err := auth.GetGitCredentials(ctx, p, append(options, auth.WithGitURL(*u))...)
	if err != nil {
		return nil, fmt.Errorf("%w with the provider %q: %w", ErrLogin, provider, err)
	}
	secrets.Register(c.BearerToken, c.Password, c.Username)
	return c, nil
}
