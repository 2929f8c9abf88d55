package ocirepository

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// elsewhere serves a handler under the name host, over TLS and through a proxy. It
// returns the address of the proxy and the certificate to trust.
func elsewhere(t *testing.T, host string, handler http.Handler) (proxy string, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.URL.Hostname() != host {
			http.Error(w, "no such host", http.StatusBadGateway)
			return
		}
		there, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			return
		}
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			there.Close()
			return
		}
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, here); there.Close() }()
		_, _ = io.Copy(here, there)
		here.Close()
	}))
	t.Cleanup(p.Close)
	return p.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestProvider logs in with the identity of the machine, as its metadata server
// gives it, to a registry of that provider.
func TestProvider(t *testing.T) {
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"access_token":"google-token","expires_in":3600,"token_type":"Bearer"}`)
		}
	}))
	defer metadata.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())

	g := newRig(t)
	g.files("project/app", "latest", map[string]string{"a": "a"})
	proxy, ca := elsewhere(t, "eu.gcr.io", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, word, _ := r.BasicAuth(); user != "oauth2accesstoken" || word != "google-token" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		g.handler.ServeHTTP(w, r)
	}))
	g.secret("proxy", "address", proxy)
	g.secret("google", "ca.crt", ca)
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		s.URL, s.Provider = "oci://eu.gcr.io/project/app", "gcp"
		s.SecretRef, s.CertSecretRef, s.ProxySecretRef = nil, secretRef("google"), secretRef("proxy")
	})
	if repo := g.ready("app"); g.content(repo.Status.Artifact)["a"] != "a" {
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
			if repo := g.fails(name, c.reason, c.text); stalled(repo) != c.stalls {
				t.Errorf("stalled is %t, want %t", stalled(repo), c.stalls)
			}
		})
	}
	// A Secret comes first, whatever the provider.
	g.files("app", "latest", map[string]string{"a": "a"})
	g.create("secret", func(s *sourcev1.OCIRepositorySpec) { s.URL, s.Provider = "oci://"+g.host()+"/app", "aws" })
	g.ready("secret")
}
