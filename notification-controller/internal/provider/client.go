package provider

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/upstream"
)

// clientOf makes the HTTP client of a Provider: its certificates and its
// proxy, or that of the environment. Redirects are never followed, so that
// credentials and events reach the configured host and no other.
func clientOf(proxy *url.URL, config *tls.Config) *http.Client {
	through := http.ProxyFromEnvironment
	if proxy != nil {
		through = http.ProxyURL(proxy)
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 through,
			TLSClientConfig:       config.Clone(),
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			MaxIdleConns:          2,
			IdleConnTimeout:       time.Minute,
			ForceAttemptHTTP2:     true,
			ExpectContinueTimeout: time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// proxyOf returns the proxy of spec.proxySecretRef, else that of the Secret's
// deprecated key, else that of the deprecated field. nil: none is named.
func proxyOf(ctx context.Context, c client.Reader, p *notificationv1beta3.Provider, secret *corev1.Secret) (*url.URL, error) {
	address, where := p.Spec.Proxy, "spec.proxy"
	if v := string(secret.Data["proxy"]); v != "" {
		address, where = v, fmt.Sprintf("key \"proxy\" of secret %q", secret.Name)
	}
	var login *url.Userinfo
	if ref := p.Spec.ProxySecretRef; ref != nil {
		s, err := secrets.Get(ctx, c, p.Namespace, ref.Name)
		if err != nil {
			return nil, fmt.Errorf("spec.proxySecretRef: %w", err)
		}
		address, where = string(s.Data["address"]), fmt.Sprintf("key \"address\" of secret %q", s.Name)
		if address == "" {
			return nil, fmt.Errorf("%w: %s is missing", ErrInvalid, where)
		}
		if user := string(s.Data["username"]); user != "" {
			login = url.UserPassword(user, string(s.Data["password"]))
		}
	}
	if address == "" {
		return nil, nil
	}
	u, err := parseAddress(address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if login != nil {
		u.User = login
	}
	return u, nil
}

// tlsOf reads spec.certSecretRef: ca.crt, and tls.crt with tls.key, or their
// older names. nil: it is not set.
func tlsOf(ctx context.Context, c client.Reader, p *notificationv1beta3.Provider) (*tls.Config, error) {
	ref := p.Spec.CertSecretRef
	if ref == nil {
		return nil, nil
	}
	s, err := secrets.Get(ctx, c, p.Namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("spec.certSecretRef: %w", err)
	}
	m, err := upstream.ReadMaterial(s)
	if err != nil {
		return nil, fmt.Errorf("%w: spec.certSecretRef: %w", ErrInvalid, err)
	}
	config, err := m.Config()
	if err != nil {
		return nil, fmt.Errorf("%w: spec.certSecretRef: secret %q: %w", ErrInvalid, s.Name, err)
	}
	return config, nil
}

// headersOf reads the key headers: a YAML map of names to values. The values
// are registered for redaction one by one, as the map as a whole would never
// occur in a message.
func headersOf(s *corev1.Secret) (map[string]string, error) {
	text, ok := s.Data["headers"]
	if !ok {
		return nil, nil
	}
	headers := map[string]string{}
	if err := yaml.UnmarshalStrict(text, &headers); err != nil {
		return nil, fmt.Errorf("%w: key \"headers\" of secret %q is no YAML map of header names to values", ErrInvalid, s.Name)
	}
	for name, value := range headers {
		if textproto.TrimString(name) == "" {
			return nil, fmt.Errorf("%w: key \"headers\" of secret %q has an empty header name", ErrInvalid, s.Name)
		}
		secrets.Register(value)
	}
	return headers, nil
}

// parseAddress accepts http and https URLs with a host. Its error does not
// repeat the address, because the path of a webhook is often its password.
func parseAddress(address string) (*url.URL, error) {
	if address == "" {
		return nil, fmt.Errorf("%w: no address: set spec.address, or the key \"address\" of the secret", ErrInvalid)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: the address is no http:// or https:// URL", ErrInvalid)
	}
	return u, nil
}
