package fileserver

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// door is a store with one artifact, of the GitRepository "app", behind a Guard that
// acts as a user of its own.
type door struct {
	t    *testing.T
	c    client.Client
	ns   string
	path string
	url  string
	sum  string
	user string // as whom the Guard asks
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{t: t, c: testenv.Client(t), ns: testenv.Namespace(t)}
	d.user = "guard-of-" + d.ns
	d.grant(rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: d.user}, "guard-"+d.ns, []rbacv1.PolicyRule{
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	})
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: t.TempDir(), Host: "source-controller.test"})
	must(t, err)
	b, err := store.Put(t.Context(), strings.NewReader("content"))
	must(t, err)
	a, err := store.Publish(artifact.Publication{
		Object: artifact.Object{Kind: sourcev1.GitRepositoryKind, Namespace: d.ns, Name: "app"}, File: "0123.tar.gz", Revision: "main@sha1:0123",
	}, b)
	must(t, err)
	cfg := testenv.Config(t)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: d.user}
	as, err := client.New(cfg, client.Options{})
	must(t, err)
	s := httptest.NewServer(NewGuard(as, logr.Discard(), store.Handler()))
	t.Cleanup(s.Close)
	d.path, d.url, d.sum = a.Path, s.URL, a.Digest
	return d
}

// grant gives a subject rights in the whole cluster.
func (d *door) grant(to rbacv1.Subject, name string, rules []rbacv1.PolicyRule) {
	d.t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{to},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}
	for _, obj := range []client.Object{role, binding} {
		must(d.t, d.c.Create(d.t.Context(), obj))
		d.t.Cleanup(func() { _ = d.c.Delete(d.t.Context(), obj) })
	}
}

// account makes a service account with the right to read a subresource of GitRepositories in
// the namespace; "" for none.
func (d *door) account(name, resource string) {
	d.t.Helper()
	must(d.t, d.c.Create(d.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.ns, Name: name}}))
	if resource == "" {
		return
	}
	must(d.t, d.c.Create(d.t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.ns, Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{sourcev1.GroupVersion.Group}, Resources: []string{resource}, Verbs: []string{"get"}}},
	}))
	must(d.t, d.c.Create(d.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.ns, Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: d.ns, Name: name}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
	}))
}

// token asks for one of the account; an audience of "" is the API server's.
func (d *door) token(account, audience string) string {
	d.t.Helper()
	request := &authenticationv1.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.ns, Name: account}}
	must(d.t, d.c.SubResource("token").Create(d.t.Context(), sa, request))
	return request.Status.Token
}

func (d *door) get(path, token string) int {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.url+path, nil)
	must(d.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	must(d.t, err)
	defer resp.Body.Close()
	return resp.StatusCode
}

// reviews counts what the Guard asked the API server.
func (d *door) reviews() map[string]int {
	n := map[string]int{}
	for _, e := range testenv.Audit(d.t) {
		if e.Impersonated == d.user {
			n[e.Resource]++
		}
	}
	return n
}

func TestGuard(t *testing.T) {
	d := newDoor(t)
	d.account("reader", "gitrepositories/artifact")
	d.account("viewer", "gitrepositories") // may see the object, not its content
	d.account("nobody", "")
	reader := d.token("reader", Audience)
	forged := reader[:strings.LastIndexByte(reader, '.')] + "." + strings.Repeat("A", 342)
	for name, c := range map[string]struct {
		path, token string
		want        int
	}{
		"probe":                 {"/", "", http.StatusOK},
		"right":                 {"/" + d.path, reader, http.StatusOK},
		"no token":              {"/" + d.path, "", http.StatusUnauthorized},
		"no JWT":                {"/" + d.path, "s3cret", http.StatusUnauthorized},
		"forged":                {"/" + d.path, forged, http.StatusUnauthorized},
		"of the API server":     {"/" + d.path, d.token("reader", ""), http.StatusUnauthorized},
		"of another service":    {"/" + d.path, d.token("reader", "vault"), http.StatusUnauthorized},
		"who may see the spec":  {"/" + d.path, d.token("viewer", Audience), http.StatusForbidden},
		"who may nothing":       {"/" + d.path, d.token("nobody", Audience), http.StatusForbidden},
		"who may nothing, gone": {"/gitrepository/" + d.ns + "/gone/a.tar.gz", d.token("nobody", Audience), http.StatusForbidden},
		"gone":                  {"/gitrepository/" + d.ns + "/app/gone.tar.gz", reader, http.StatusNotFound},
		"other namespace":       {"/gitrepository/default/app/0123.tar.gz", reader, http.StatusForbidden},
		"other kind":            {"/bucket/" + d.ns + "/app/0123.tar.gz", reader, http.StatusForbidden},
		"no artifact's path":    {"/.weir/blobs/x/y", reader, http.StatusForbidden},
		"out of the path":       {"/gitrepository/" + d.ns + "/app/%2e%2e", reader, http.StatusNotFound},
		"a listing":             {"/gitrepository/" + d.ns + "/app/", reader, http.StatusNotFound},
	} {
		if got := d.get(c.path, c.token); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestGuardAsksOnce asserts that answers are remembered, also those that refuse, and
// that what is no token is not asked about.
func TestGuardAsksOnce(t *testing.T) {
	d := newDoor(t)
	d.account("reader", "gitrepositories/artifact")
	reader, other := d.token("reader", Audience), d.token("reader", "vault")
	var all sync.WaitGroup
	for range 4 {
		d.get("/"+d.path, reader) // so that the answer is there
		for range 20 {
			all.Go(func() {
				d.get("/"+d.path, reader)
				d.get("/"+d.path, "no.token")
			})
		}
	}
	all.Wait()
	if got := d.reviews(); got["tokenreviews"] != 1 || got["subjectaccessreviews"] != 1 {
		t.Errorf("asked %v for one token, want one review of each kind", got)
	}
	for range 5 {
		d.get("/"+d.path, other)
	}
	if got := d.reviews(); got["tokenreviews"] != 2 || got["subjectaccessreviews"] != 1 {
		t.Errorf("asked %v for two tokens, want one more token review", got)
	}
}

// TestGuardWithoutAnswer asserts that nothing is served while nobody can be asked, and
// that this is not remembered.
func TestGuardWithoutAnswer(t *testing.T) {
	d := newDoor(t)
	d.account("reader", "gitrepositories/artifact")
	token := d.token("reader", Audience)
	must(t, d.c.Delete(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "guard-" + d.ns}}))
	for d.get("/"+d.path, d.token("reader", Audience)) != http.StatusServiceUnavailable { // the authorizer learns of it by a watch
		if t.Context().Err() != nil {
			t.Fatal("what cannot be authorized was served")
		}
	}
	if got := d.get("/"+d.path, token); got != http.StatusServiceUnavailable {
		t.Errorf("got %d while nobody can be asked", got)
	}
}

// TestFetcherShowsItsToken asserts that a consumer with an identity gets an artifact
// that is guarded, and one without does not.
func TestFetcherShowsItsToken(t *testing.T) {
	d := newDoor(t)
	d.account("reader", "gitrepositories/artifact")
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(d.token("reader", Audience)+"\n"), 0o600))
	fetch := func(identity *artifact.Identity) error {
		f, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: t.TempDir(), Identity: identity})
		must(t, err)
		tree, err := f.Fetch(t.Context(), d.url+"/"+d.path, d.sum)
		if err == nil {
			tree.Close()
		}
		return err
	}
	if err := fetch(nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a token: %v", err)
	}
	host := strings.TrimPrefix(d.url, "http://")
	for name, c := range map[string]struct {
		host, text string
	}{
		"named":   {host, "tar.gz"}, // it is served, and is no archive
		"another": {"artifacts.example.com", "401"},
	} {
		identity, err := artifact.NewIdentity(file, []string{c.host})
		must(t, err)
		if err := fetch(identity); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.text)
		}
	}
}
