package ocirepository

import (
	"net/http"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestProvider logs in with the identity of the machine, as its metadata server
// gives it, to a registry of that provider.
func TestProvider(t *testing.T) {
	cloudtest.Metadata(t)
	g := newRig(t)
	g.files("project/app", "latest", map[string]string{"a": "a"})
	internet := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{"eu.gcr.io": func(w http.ResponseWriter, r *http.Request) {
		if user, word, _ := r.BasicAuth(); user != "oauth2accesstoken" || word != cloudtest.GoogleToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		g.handler.ServeHTTP(w, r)
	}}}
	g.Secret("proxy", "address", internet.Start(t).String())
	g.Secret("google", "ca.crt", string(cloudtest.Authority()))
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		s.URL, s.Provider = "oci://eu.gcr.io/project/app", "gcp"
		s.SecretRef, s.CertSecretRef, s.ProxySecretRef = nil, secretRef("google"), secretRef("proxy")
	})
	if repo := g.Ready("app"); g.Content(repo.Status.Artifact)["a"] != "a" {
		t.Errorf("got %+v", repo.Status.Artifact)
	}
}

func TestProviderFailures(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CA_BUNDLE", "")
	g := newRig(t)
	for name, c := range map[string]struct {
		change func(*sourcev1.OCIRepositorySpec)
		reason string
		text   string
		stalls bool
	}{
		"not-its-registry": {func(s *sourcev1.OCIRepositorySpec) { s.Provider = "azure" }, sourcev1.AuthenticationFailedReason, "spec.provider", true},
		"no-gate": {func(s *sourcev1.OCIRepositorySpec) {
			s.URL, s.Provider, s.ServiceAccountName = "oci://eu.gcr.io/project/app", "gcp", "default"
		}, meta.FeatureGateDisabledReason, "spec.serviceAccountName", true},
		"insecure": {func(s *sourcev1.OCIRepositorySpec) {
			s.URL, s.Provider, s.Insecure = "oci://eu.gcr.io/project/app", "gcp", true
		}, sourcev1.AuthenticationFailedReason, "spec.insecure", true},
		"no-identity": {func(s *sourcev1.OCIRepositorySpec) {
			s.URL, s.Provider = "oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/app", "aws"
		}, sourcev1.AuthenticationFailedReason, "spec.provider", false},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.OCIRepositorySpec) {
				s.URL, s.SecretRef, s.CertSecretRef = "oci://"+g.host()+"/app", nil, nil
				c.change(s)
			})
			if repo := g.Fails(name, c.reason, c.text); sourcetest.Stalled(repo) != c.stalls {
				t.Errorf("stalled is %t, want %t", sourcetest.Stalled(repo), c.stalls)
			}
		})
	}
	// A Secret comes first, whatever the provider.
	g.files("app", "latest", map[string]string{"a": "a"})
	g.create("secret", func(s *sourcev1.OCIRepositorySpec) { s.URL, s.Provider = "oci://"+g.host()+"/app", "aws" })
	g.Ready("secret")
}
