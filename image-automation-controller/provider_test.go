package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/internal/githubapp/apptest"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/proxytest"
)

// hand returns a handler that passes requests on to a server.
func hand(t *testing.T, address string) http.HandlerFunc {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return (&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u) }}).ServeHTTP
}

func (l *lab) secret(name string, data map[string]string) {
	l.t.Helper()
	l.create(&corev1.Secret{ObjectMeta: l.meta(name), StringData: data})
}

// through makes an automation whose source is at the address, for the repository of
// the Git server, and lets it commit.
func (l *lab) through(repository, address string, change func(*sourcev1.GitRepositorySpec)) *imagev1.ImageUpdateAutomation {
	l.t.Helper()
	auto := l.automation("fleet", map[string]string{"unused.yaml": ""}, nil)
	if err := l.git.Init(repository, map[string]string{"web.yaml": l.web("1.0.0")}); err != nil {
		l.t.Fatal(err)
	}
	source := &sourcev1.GitRepository{ObjectMeta: l.meta("fleet")}
	l.update(source, func() {
		source.Spec.URL, source.Spec.SecretRef = address, nil
		change(&source.Spec)
	})
	if err := l.commit(auto); err != nil {
		l.t.Fatal(err)
	}
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason)
	if diff := cmp.Diff(l.web("1.1.0"), l.file(repository, "main", "web.yaml")); diff != "" {
		l.t.Error(diff)
	}
	return auto
}

// TestUpdateAsGitHubApp pushes with a token of a GitHub App, and opens a pull request
// with it.
func TestUpdateAsGitHubApp(t *testing.T) {
	t.Parallel()
	api := apptest.Start(t)
	h := &hub{token: api.Token}
	l := newLab(t, labOptions{git: gitserver.Options{Username: "x-access-token", Password: api.Token, Middleware: h.middleware}})
	h.l = l
	p := l.chosen()
	l.secret("app", api.Secret("githubAppInstallationID", "7"))
	auto := l.through("org/fleet", l.git.URL("org/fleet"), func(s *sourcev1.GitRepositorySpec) {
		s.Provider, s.SecretRef = "github", &meta.LocalObjectReference{Name: "app"}
	})
	l.update(auto, func() { auto.Annotations = map[string]string{"weir.dev/pull-request": "github"} })
	l.next(p, "1.2.0")
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason, "pull request https://hub/org/fleet/pull/1 is open")
	if n := api.Tokens.Load(); n != 1 {
		t.Errorf("two pushes and a pull request cost %d tokens, want 1", n)
	}
	for _, told := range l.told() {
		if strings.Contains(told, api.Token) {
			t.Errorf("an event tells the token: %q", told)
		}
	}
}

// TestUpdateAtAzure pushes to Azure DevOps with a token of Entra, through a proxy.
func TestUpdateAtAzure(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555")
	t.Setenv("AZURE_CLIENT_ID", "66666666-7777-8888-9999-000000000000")
	t.Setenv("AZURE_CLIENT_SECRET", "client-secret")
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	l := newLab(t, labOptions{git: gitserver.Options{Bearer: "entra-token"}})
	l.chosen()
	var tokens atomic.Int64
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{
		"dev.azure.com": hand(t, l.git.URL("")),
		cloudtest.EntraHost: cloudtest.Entra("11111111-2222-3333-4444-555555555555", func(w http.ResponseWriter, q *http.Request) {
			if q.PostFormValue("client_secret") != "client-secret" || !strings.Contains(q.PostFormValue("scope"), "499b84ac-1321-427f-aa17-267ca6975798/.default") {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			tokens.Add(1)
			fmt.Fprint(w, `{"access_token":"entra-token","expires_in":3600,"token_type":"Bearer"}`)
		}),
	}}
	l.secret("proxy", map[string]string{"address": n.Start(t).String()})
	l.through("org/project/_git/app", "https://org@dev.azure.com/org/project/_git/app", func(s *sourcev1.GitRepositorySpec) {
		s.Provider, s.ProxySecretRef = "azure", &meta.LocalObjectReference{Name: "proxy"}
	})
	if tokens.Load() != 1 {
		t.Errorf("a poll and a push cost %d tokens, want 1; asked %q", tokens.Load(), n.Asked())
	}
}

// TestUpdateAtAWS pushes to CodeCommit with signed requests, through a proxy.
func TestUpdateAtAWS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key")
	t.Setenv("AWS_SESSION_TOKEN", "session-token")
	t.Setenv("AWS_CA_BUNDLE", "")
	const host = "git-codecommit.eu-west-1.amazonaws.com"
	l := newLab(t, labOptions{git: gitserver.Options{Username: "-", Password: "-"}}) // nobody gets in but by our hand
	l.chosen()
	forward := hand(t, l.git.URL(""))
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{host: func(w http.ResponseWriter, q *http.Request) {
		name, password, _ := q.BasicAuth()
		at, signature, _ := strings.Cut(password, "Z")
		if _, err := time.Parse("20060102T150405", at); err != nil || len(signature) != 64 || name != "AKIATEST%session-token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		q.SetBasicAuth("-", "-")
		forward(w, q)
	}}}
	l.secret("proxy", map[string]string{"address": n.Start(t).String()})
	l.through("v1/repos/app", "https://"+host+"/v1/repos/app", func(s *sourcev1.GitRepositorySpec) {
		s.Provider, s.ProxySecretRef = "aws", &meta.LocalObjectReference{Name: "proxy"}
	})
}

// TestProxies polls, pushes and scans through proxies to hosts that nothing else leads
// to: a plain one with credentials, and one that opens tunnels for TLS.
func TestProxies(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	l.chosen()
	gitProxy := proxytest.Start(t, proxytest.Options{Username: "proxy", Password: "proxy-password", Forward: hand(t, l.git.URL(""))})
	l.secret("git-proxy", map[string]string{"address": gitProxy.URL, "username": "proxy", "password": "proxy-password"})
	l.through("fleet.git", "http://git.test/fleet.git", func(s *sourcev1.GitRepositorySpec) {
		s.SecretRef, s.ProxySecretRef = &meta.LocalObjectReference{Name: "git"}, &meta.LocalObjectReference{Name: "git-proxy"}
	})
	if !slices.Contains(gitProxy.Hosts(), "git.test") {
		t.Errorf("the Git server was not asked by the proxy, but %q", gitProxy.Hosts())
	}

	images := hand(t, "http://"+l.registry.host)
	imageProxy := proxytest.Start(t, proxytest.Options{Username: "proxy", Password: "proxy-password", Forward: images})
	l.secret("plain-proxy", map[string]string{"address": imageProxy.URL, "username": "proxy", "password": "proxy-password"})
	internet := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{"registry.test": images}}
	l.secret("tunnel", map[string]string{"address": internet.Start(t).String()})
	l.secret("wrong-proxy", map[string]string{"address": imageProxy.URL, "username": "proxy", "password": "wrong-password"})
	l.create(&corev1.Secret{ObjectMeta: l.meta("registry-test"), Type: corev1.SecretTypeDockerConfigJson, Data: dockerConfig("registry.test", password)})
	for name, c := range map[string]struct {
		proxy    string
		insecure bool
		reason   string
	}{
		"plain":  {"plain-proxy", true, meta.SucceededReason},
		"tunnel": {"tunnel", false, meta.SucceededReason},
		"wrong":  {"wrong-proxy", true, imagev1.ReadOperationFailedReason},
	} {
		repo := &imagev1.ImageRepository{ObjectMeta: l.meta("via-" + name), Spec: imagev1.ImageRepositorySpec{
			Image: "registry.test/org/web", Insecure: c.insecure, SecretRef: &meta.LocalObjectReference{Name: "registry-test"},
			ProxySecretRef: &meta.LocalObjectReference{Name: c.proxy},
		}}
		repo.Spec.Interval.Duration = time.Hour
		l.create(repo)
		_ = l.scan(repo)
		if c.reason != meta.SucceededReason {
			l.ready(repo, metav1.ConditionFalse, c.reason)
			if strings.Contains(fmt.Sprint(repo.Status, l.told()), "wrong-password") {
				t.Error("the password of the proxy is told")
			}
			continue
		}
		l.ready(repo, metav1.ConditionTrue, meta.SucceededReason, "found 2 tags")
		digest := l.policyWith("via-"+name, func(s *imagev1.ImagePolicySpec) {
			s.ImageRepositoryRef.Name, s.DigestReflectionPolicy = repo.Name, imagev1.ReflectIfNotPresent
		})
		_ = l.choose(digest)
		l.ready(digest, metav1.ConditionTrue, meta.SucceededReason, "with digest sha256:")
	}
	if !slices.Contains(imageProxy.Hosts(), "registry.test") || !slices.Contains(internet.Asked(), "registry.test") {
		t.Error("the registry was not asked by the proxies")
	}
}
