package registry

import (
	"errors"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestParseRepository(t *testing.T) {
	for image, want := range map[string]string{
		"alpine":                     "index.docker.io/library/alpine",
		"org/app":                    "index.docker.io/org/app",
		"ghcr.io/org/app":            "ghcr.io/org/app",
		"localhost:5000/app":         "localhost:5000/app",
		"alpine:3":                   "",
		"ghcr.io/org/app:1":          "",
		"localhost:5000/app:1":       "",
		"https://ghcr.io/org/app":    "",
		"app@sha256:0000":            "",
		"":                           "",
		"UPPER/case":                 "",
		"ghcr.io/../app":             "",
		"user:password@ghcr.io/x/y":  "",
		"ghcr.io/org/app?x=y#z":      "",
		"ghcr.io/org/app\nX-Header:": "",
	} {
		got, err := ParseRepository(image, false)
		if want == "" && !errors.Is(err, ErrName) || want != "" && (err != nil || got.Name() != want) {
			t.Errorf("%q: got %q, %v; want %q", image, got.Name(), err, want)
		}
	}
}

func TestFind(t *testing.T) {
	const config = `{"auths": {
		"ghcr.io": {"username": "host", "password": "p"},
		"https://ghcr.io/org": {"auth": "b3JnOnBhc3M="},
		"ghcr.io/org/app/": {"username": "app", "password": "p"},
		"https://index.docker.io/v1/": {"username": "hub", "password": "p"},
		"quay.io": {"identitytoken": "t"}
	}}`
	for image, want := range map[string]string{
		"ghcr.io/other/app":   "host",
		"ghcr.io/orga/app":    "host",
		"ghcr.io/org/web":     "org",
		"ghcr.io/org/app":     "app",
		"ghcr.io/org/app/sub": "app",
		"alpine":              "hub",
		"gcr.io/org/app":      "",
	} {
		repository, err := ParseRepository(image, false)
		if err != nil {
			t.Fatal(err)
		}
		auth, _, err := find([]byte(config), repository)
		if auth.Username != want || errors.Is(err, errNoEntry) != (want == "") || want != "" && err != nil {
			t.Errorf("%q: got %q, %v; want %q", image, auth.Username, err, want)
		}
	}
	repository, err := ParseRepository("quay.io/a/b", false)
	if err != nil {
		t.Fatal(err)
	}
	auth, others, err := find([]byte(config), repository)
	if err != nil || auth != (authn.AuthConfig{IdentityToken: "t"}) || !slices.Equal(others, []string{"ghcr.io", "index.docker.io"}) {
		t.Errorf("got %+v, %q, %v", auth, others, err)
	}
	if _, _, err := find([]byte(`{"auths": {"ghcr.io": {"password": s3cret}}}`), repository); err == nil || err.Error() != "it is no Docker configuration in JSON" {
		t.Errorf("got %v", err)
	}
}

// FuzzFind asserts that no configuration panics.
func FuzzFind(f *testing.F) {
	f.Add([]byte(`{"auths":{"ghcr.io":{"auth":"eDp5"}}}`))
	f.Add([]byte(`{"auths":{"":{"auth":"!"},"/":null}}`))
	repository, err := ParseRepository("ghcr.io/org/app", false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, config []byte) { _, _, _ = find(config, repository) })
}

// TestTrusts asserts to whom the credentials for a registry may go.
func TestTrusts(t *testing.T) {
	for _, c := range []struct {
		host, realm string
		named       []string
		want        bool
	}{
		{"ghcr.io", "https://ghcr.io/token", nil, true},
		{"index.docker.io", "https://auth.docker.io/token", nil, true},
		{"registry.gitlab.com", "https://gitlab.com/jwt/auth", nil, true},
		{"registry.example.co.uk", "https://git.example.co.uk/jwt/auth", nil, true},
		{"registry.example.co.uk", "https://evil.co.uk/", nil, false},
		{"org.github.io", "https://evil.github.io/token", nil, false},
		{"ghcr.io", "https://ghcr.io.evil.com/token", nil, false},
		{"ghcr.io", "https://ghcr.io:8443/token", nil, false},
		{"ghcr.io", "http://ghcr.io.evil.com/token", nil, false},
		{"index.docker.io", "http://auth.docker.io/token", nil, false},
		{"registry.local:5000", "http://registry.local:5000/token", nil, true},
		{"registry.local:5000", "https://registry.local:5001/token", nil, false},
		{"registry.local:5000", "https://registry.local:5001/token", []string{"registry.local:5001"}, true},
		{"rg.fr-par.scw.cloud", "https://api.scaleway.com/token", nil, false},
		{"rg.fr-par.scw.cloud", "https://api.scaleway.com/token", []string{"api.scaleway.com"}, true},
		{"registry", "https://auth/token", nil, false},
		{"10.0.0.1:5000", "https://10.0.0.1/token", nil, false},
		{"10.0.0.1", "https://20.0.0.1/token", nil, false},
	} {
		u, err := url.Parse(c.realm)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&guard{host: c.host, tokenHosts: c.named}).trusts(u); got != c.want {
			t.Errorf("%s sends to %s (named %q): %v, want %v", c.host, c.realm, c.named, got, c.want)
		}
	}
}
