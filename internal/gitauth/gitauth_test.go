package gitauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	fluxauth "github.com/fluxcd/pkg/auth"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/githubapp/apptest"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.Options{After: cloudtest.Trust()}) }

// rig is a Reader on a real API server.
type rig struct {
	t      *testing.T
	c      client.Client
	ns     string
	reader *Reader
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, c: testenv.Client(t, sourcev1.AddToScheme), ns: testenv.Namespace(t)}
	logins, err := cloudlogin.New(cloudlogin.Options{Client: r.c})
	if err != nil {
		t.Fatal(err)
	}
	r.reader = New(Options{Secrets: r.c, Logins: logins, Apps: githubapp.NewTokens(githubapp.TokensOptions{})})
	return r
}

func (r *rig) secret(name string, kv ...string) {
	r.t.Helper()
	data := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		data[kv[i]] = kv[i+1]
	}
	r.secretOf(name, data)
}

func (r *rig) secretOf(name string, data map[string]string) {
	r.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: name}, StringData: data}
	if err := r.c.Create(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
}

// repo is a GitRepository with the fields that matter.
func (r *rig) repo(provider, address, secret, proxy, account string) *sourcev1.GitRepository {
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "app"}}
	repo.Spec.URL, repo.Spec.Provider, repo.Spec.ServiceAccountName = address, provider, account
	if secret != "" {
		repo.Spec.SecretRef = &meta.LocalObjectReference{Name: secret}
	}
	if proxy != "" {
		repo.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: proxy}
	}
	return repo
}

// follow polls the repository with the credentials that the Reader gives, twice.
func (r *rig) follow(repo *sourcev1.GitRepository) {
	r.t.Helper()
	pool, err := gitrepo.NewPool(gitrepo.Options{Dir: r.t.TempDir(), PollShare: -1})
	if err != nil {
		r.t.Fatal(err)
	}
	defer pool.Close()
	for range 2 {
		auth, err := r.reader.Auth(r.t.Context(), repo)
		if err != nil {
			r.t.Fatal(err)
		}
		remote, err := pool.Open(repo.Spec.URL, auth)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := remote.Poll(r.t.Context(), gitrepo.Ref{Branch: gitserver.Branch}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// serve is a Git server with the repository at path.
func serve(t *testing.T, o gitserver.Options, path string) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Init(path, map[string]string{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// hand returns a handler that passes requests on to the server.
func hand(t *testing.T, s *gitserver.Server) http.HandlerFunc {
	t.Helper()
	u, err := url.Parse(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	return (&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u) }}).ServeHTTP
}

func TestAzure(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555")
	t.Setenv("AZURE_CLIENT_ID", "66666666-7777-8888-9999-000000000000")
	t.Setenv("AZURE_CLIENT_SECRET", "client-secret")
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	r := newRig(t)
	srv := serve(t, gitserver.Options{Bearer: "entra-token"}, "org/project/_git/app")
	tokens, assertions := 0, 0
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{
		"dev.azure.com": hand(t, srv),
		cloudtest.EntraHost: cloudtest.Entra("11111111-2222-3333-4444-555555555555", func(w http.ResponseWriter, q *http.Request) {
			if !strings.Contains(q.PostFormValue("scope"), "499b84ac-1321-427f-aa17-267ca6975798/.default") { // Azure DevOps
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			tokens++
			if q.PostFormValue("client_assertion") != "" && q.PostFormValue("client_id") == "robot-client" {
				assertions++
			} else if q.PostFormValue("client_secret") != "client-secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"access_token":"entra-token","expires_in":3600,"token_type":"Bearer"}`)
		}),
	}}
	r.secret("proxy", "address", n.Start(t).String())
	address := "https://org@dev.azure.com/org/project/_git/app" // as Azure DevOps shows it
	r.follow(r.repo("azure", address, "", "proxy", ""))
	if tokens != 1 {
		t.Errorf("two looks cost %d tokens, want 1", tokens)
	}
	fluxauth.EnableObjectLevelWorkloadIdentity()
	defer fluxauth.DisableObjectLevelWorkloadIdentity()
	robot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "robot", Annotations: map[string]string{
		"azure.workload.identity/client-id": "robot-client", "azure.workload.identity/tenant-id": "11111111-2222-3333-4444-555555555555",
	}}}
	if err := r.c.Create(t.Context(), robot); err != nil {
		t.Fatal(err)
	}
	r.follow(r.repo("azure", address, "", "proxy", "robot"))
	if tokens != 2 || assertions != 1 {
		t.Errorf("%d tokens, %d of them for the service account; asked %q", tokens, assertions, n.Asked())
	}
}

func TestAWS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-access-key")
	t.Setenv("AWS_SESSION_TOKEN", "session-token")
	t.Setenv("AWS_CA_BUNDLE", "")
	r := newRig(t)
	srv := serve(t, gitserver.Options{}, "v1/repos/app")
	forward := hand(t, srv)
	var users []string
	exchanges := 0
	n := &cloudtest.Internet{Hosts: map[string]http.HandlerFunc{
		"git-codecommit.eu-west-1.amazonaws.com": func(w http.ResponseWriter, q *http.Request) {
			user, password, _ := q.BasicAuth()
			at, signature, _ := strings.Cut(password, "Z")
			if _, err := time.Parse("20060102T150405", at); err != nil || len(signature) != 64 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			users = append(users, user)
			forward(w, q)
		},
		"sts.eu-west-1.amazonaws.com": func(w http.ResponseWriter, q *http.Request) {
			if q.PostFormValue("Action") != "AssumeRoleWithWebIdentity" || strings.Count(q.PostFormValue("WebIdentityToken"), ".") != 2 || q.PostFormValue("RoleArn") != "arn:aws:iam::123456789012:role/robot" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			exchanges++
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>AKIAROBOT</AccessKeyId><SecretAccessKey>robot-secret</SecretAccessKey><SessionToken>robot-session</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		},
	}}
	r.secret("proxy", "address", n.Start(t).String())
	address := "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/app"
	r.follow(r.repo("aws", address, "", "proxy", ""))
	if len(users) == 0 || users[0] != "AKIATEST%session-token" {
		t.Errorf("the server saw the users %q", users)
	}
	fluxauth.EnableObjectLevelWorkloadIdentity()
	defer fluxauth.DisableObjectLevelWorkloadIdentity()
	robot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, Name: "robot", Annotations: map[string]string{
		"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/robot",
	}}}
	if err := r.c.Create(t.Context(), robot); err != nil {
		t.Fatal(err)
	}
	users = nil
	r.follow(r.repo("aws", address, "", "proxy", "robot"))
	if exchanges != 1 || len(users) == 0 || users[0] != "AKIAROBOT%robot-session" {
		t.Errorf("%d exchanges; the server saw the users %q; asked %q", exchanges, users, n.Asked())
	}
}

func TestWhatDoesNotGoTogether(t *testing.T) {
	r := newRig(t)
	r.secret("basic", "username", "anna", "password", "planted-password")
	r.secret("half", "username", "anna", "bearerToken", "x\ny")
	r.secret("app", "githubAppID", "1", "githubAppInstallationID", "2", "githubAppPrivateKey", "planted-key")
	r.secret("ftp", "address", "ftp://proxy.test")
	r.secret("none")
	tests := map[string]struct {
		repo *sourcev1.GitRepository
		want error
		text string
	}{
		"unknown provider":      {r.repo("bitbucket", "https://git.test/a", "", "", ""), ErrSpec, "bitbucket"},
		"account, generic":      {r.repo("", "https://git.test/a", "", "", "robot"), ErrSpec, "serviceAccountName"},
		"account, github":       {r.repo("github", "https://git.test/a", "app", "", "robot"), ErrSpec, "serviceAccountName"},
		"account, gate off":     {r.repo("azure", "https://dev.azure.com/a/b", "", "", "robot"), ErrGate, "ObjectLevelWorkloadIdentity"},
		"github over ssh":       {r.repo("github", "ssh://git@github.com/a", "app", "", ""), ErrSpec, "https"},
		"azure over ssh":        {r.repo("azure", "ssh://git@ssh.dev.azure.com/a", "", "", ""), ErrSpec, "https"},
		"azure elsewhere":       {r.repo("azure", "https://evil.test/dev.azure.com", "", "", ""), ErrSpec, "evil.test"},
		"azure in the clear":    {r.repo("azure", "http://dev.azure.com/a/b", "", "", ""), ErrSpec, "https"},
		"azure on another port": {r.repo("azure", "https://dev.azure.com:8443/a/b", "", "", ""), ErrSpec, "8443"},
		"azure lookalike":       {r.repo("azure", "https://dev.azure.com.evil.test/a/b", "", "", ""), ErrSpec, "evil.test"},
		"aws elsewhere":         {r.repo("aws", "https://git-codecommit.evil.test/x.amazonaws.com", "", "", ""), ErrSpec, "evil.test"},
		"github without secret": {r.repo("github", "https://git.test/a", "", "", ""), ErrSpec, "secretRef"},
		"github, basic secret":  {r.repo("github", "https://git.test/a", "basic", "", ""), ErrProvider, "githubAppID"},
		"github, bad key":       {r.repo("github", "https://git.test/a", "app", "", ""), ErrProvider, "githubAppPrivateKey"},
		"generic, app secret":   {r.repo("generic", "https://git.test/a", "app", "", ""), ErrProvider, `"github"`},
		"no secret":             {r.repo("", "https://git.test/a", "missing", "", ""), ErrSecret, "missing"},
		"bad secret":            {r.repo("", "https://git.test/a", "half", "", ""), ErrSecret, `"half"`},
		"ssh without identity":  {r.repo("", "ssh://git@git.test/a", "basic", "", ""), ErrSecret, `"identity"`},
		"no proxy secret":       {r.repo("", "https://git.test/a", "", "missing", ""), ErrProxy, "missing"},
		"proxy without address": {r.repo("", "https://git.test/a", "", "none", ""), ErrProxy, `"address"`},
		"proxy of another kind": {r.repo("", "https://git.test/a", "", "ftp", ""), ErrProxy, "socks5"},
		"no URL":                {r.repo("", "https://u:planted-url@exa mple/%zz", "", "", ""), gitrepo.ErrURL, "not a URL"},
	}
	for name, tt := range tests {
		_, err := r.reader.Auth(t.Context(), tt.repo)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, tt.want, tt.text)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
		if errors.Is(tt.want, ErrSpec) && (errors.Is(err, ErrProvider) || errors.Is(err, ErrGate)) {
			t.Errorf("%s: the error is of several kinds: %v", name, err)
		}
	}
}

// Two owners of tokens never share a mirror; a renewed token keeps it.
func TestScope(t *testing.T) {
	r := newRig(t)
	api := apptest.Start(t)
	r.secretOf("one", api.Secret("githubAppInstallationID", "7"))
	r.secretOf("two", api.Secret("githubAppInstallationOwner", "org"))
	scopes := map[string]bool{}
	for _, name := range []string{"one", "two"} {
		auth, err := r.reader.Auth(t.Context(), r.repo("github", "https://git.test/a", name, "", ""))
		if err != nil {
			t.Fatal(err)
		}
		if auth.Scope == "" || strings.Contains(auth.Scope, "PRIVATE") || scopes[auth.Scope] {
			t.Errorf("%s: scope %q", name, auth.Scope)
		}
		scopes[auth.Scope] = true
	}
}

func TestGitHubApp(t *testing.T) {
	r := newRig(t)
	api := apptest.Start(t)
	srv := serve(t, gitserver.Options{Username: "x-access-token", Password: api.Token}, "org/app")
	for name, key := range map[string][2]string{"by id": {"githubAppInstallationID", "7"}, "by organization": {"githubAppInstallationOwner", "org"}, "by user": {"githubAppInstallationOwner", "anna"}} {
		t.Run(name, func(t *testing.T) {
			secret := strings.ReplaceAll(name, " ", "-")
			r.secretOf(secret, api.Secret(key[0], key[1]))
			before := api.Tokens.Load()
			r.follow(r.repo("github", srv.URL("org/app"), secret, "", ""))
			if n := api.Tokens.Load() - before; n != 1 {
				t.Errorf("two looks cost %d tokens, want 1", n)
			}
		})
	}
	if got := secrets.Redact("a " + api.Token + " b"); got != "a *** b" {
		t.Errorf("the token is not redacted: %q", got)
	}
}

func TestGitHubAsksToWait(t *testing.T) {
	r := newRig(t)
	api := apptest.Start(t)
	r.secretOf("app", api.Secret("githubAppInstallationID", "7"))
	api.Fail.Store(func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "77")
		http.Error(w, `{"message":"You have exceeded a secondary rate limit"}`, http.StatusForbidden)
	})
	_, err := r.reader.Auth(t.Context(), r.repo("github", "https://git.test/a", "app", "", ""))
	if !errors.Is(err, ErrLogin) || gitrepo.RetryAfter(err) != 77*time.Second || !strings.Contains(err.Error(), "rate limit") {
		t.Errorf("got %v, to be retried after %s", err, gitrepo.RetryAfter(err))
	}
}
