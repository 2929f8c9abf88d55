package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// TestHostileRepository has a repository with everything that could lead out of
// it or use up the machine beside one honest file.
func TestHostileRepository(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	l.chosen()
	laughs := "a0: &a0 [x]\n"
	for i := range 40 {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d,*a%d,*a%d,*a%d]\n", i+1, i+1, i, i, i, i)
	}
	mark := " # {\"$imagepolicy\": \"" + l.ns + ":web:tag\"}\n"
	huge := "image: x" + mark + "# " + strings.Repeat("y", 5<<20) + "\n"
	files := map[string]string{
		"web.yaml": l.web("1.0.0"), "laughs.yaml": laughs + "tag: old" + mark, "huge.yaml": huge, "latin.yaml": "name: caf\xe9\ntag: old" + mark,
		"foreign.yaml": "tag: old # {\"$imagepolicy\": \"kube-system:web:tag\"}\n", "unknown.yaml": "tag: old # {\"$imagepolicy\": \"" + l.ns + ":nobody:tag\"}\n",
		"odd.yaml": "tag: old # {\"$imagepolicy\": \"" + l.ns + ":web:tag:more\"}\nb: old # {\"$imagepolicy\": [1]}\nc: old # {\"$imagepolicy\": \"\"}\n",
		"deep/" + strings.Repeat("d/", 30) + "web.yaml": l.web("1.0.0"),
	}
	auto := l.automation("fleet", files, nil)
	git := func(args ...string) string {
		t.Helper()
		out, err := l.git.Git("fleet", args...)
		if err != nil {
			t.Fatal(out, err)
		}
		return strings.TrimSpace(out)
	}
	// A link out of the repository, one to a marked file, and a submodule, by name YAML files.
	git("read-tree", "main")
	blob := git("rev-parse", "main:foreign.yaml")
	git("update-index", "--add", "--cacheinfo", "120000,"+blob+",link.yaml")
	git("update-index", "--add", "--cacheinfo", "160000,"+git("rev-parse", "main")+",module.yaml")
	tree := git("write-tree")
	git("update-ref", "refs/heads/main", git("-c", "user.name=x", "-c", "user.email=x@example.com", "commit-tree", tree, "-p", "main", "-m", "hostile"))

	began := time.Now()
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason)
	if took := time.Since(began); took > patience {
		t.Errorf("took %s", took)
	}
	for name, before := range files {
		want := before
		switch {
		case strings.HasSuffix(name, "web.yaml"):
			want = l.web("1.1.0")
		case name == "laughs.yaml":
			want = strings.Replace(before, "tag: old", "tag: 1.1.0", 1)
		}
		if got := l.file("fleet", "main", name); got != want {
			t.Errorf("%s: %.200q", name, got)
		}
	}
	if raw := git("diff", "--raw", "--no-renames", "main~1", "main"); strings.Count(raw, "\n") != 2 || strings.Contains(raw, "120000") || strings.Contains(raw, "160000") {
		t.Errorf("the commit touches more than three files: %s", raw)
	}
}

// TestSeveralPaths updates what spec and annotation name, and each file once.
func TestSeveralPaths(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	l.chosen()
	files := map[string]string{}
	for _, dir := range []string{"apps", "apps/prod", "clusters/a", "clusters/b", "clusters/ab"} {
		files[dir+"/web.yaml"] = l.web("1.0.0")
	}
	auto := l.automation("fleet", files, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.Update = &imagev1.UpdateStrategy{Path: "./apps"}
		a.Annotations = map[string]string{"weir.dev/update-paths": "apps/prod, ./clusters/a/"}
	})
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	out, err := l.git.Git("fleet", "diff", "--name-only", "main~1", "main")
	if diff := cmp.Diff([]string{"apps/prod/web.yaml", "apps/web.yaml", "clusters/a/web.yaml"}, strings.Fields(out)); err != nil || diff != "" {
		t.Error(diff, err)
	}
	l.update(auto, func() { auto.Spec.Update = nil })
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if log := l.log("fleet", "main"); len(log) != 2 {
		t.Errorf("without spec.update.path the annotation's paths are not all: %q", log)
	}
}

// TestOverSSH pushes over SSH, with a key that has a passphrase.
func TestOverSSH(t *testing.T) {
	t.Parallel()
	identity, authorized, err := gitserver.NewIdentity("a passphrase")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, labOptions{git: gitserver.Options{SSH: true, AuthorizedKeys: [][]byte{authorized}}})
	l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, nil)
	l.create(&corev1.Secret{ObjectMeta: l.meta("ssh"), Data: map[string][]byte{"identity": identity, "password": []byte("a passphrase"), "known_hosts": l.git.KnownHosts()}})
	source := &sourcev1.GitRepository{ObjectMeta: l.meta("fleet")}
	l.update(source, func() { source.Spec.URL, source.Spec.SecretRef.Name = l.git.SSHURL("fleet"), "ssh" })
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if got := l.file("fleet", "main", "web.yaml"); got != l.web("1.1.0") {
		t.Errorf("got %q", got)
	}
	// A pull request needs a token, and there is none.
	l.update(auto, func() { auto.Annotations = map[string]string{"weir.dev/pull-request": "gitea"} })
	_ = l.commit(auto)
	l.ready(auto, metav1.ConditionFalse, imagev1.InvalidSourceConfigReason, "weir.dev/pull-request-secret")
}

// TestRegistryWithTLSAndTokens scans a registry with a certificate of its own and
// tokens by the token protocol: an unchanged scan is one round trip.
func TestRegistryWithTLSAndTokens(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	var requests, logins atomic.Int64
	var address string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch {
		case r.URL.Path == "/token":
			logins.Add(1)
			if u, p, _ := r.BasicAuth(); u != user || p != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"token":"a-token","expires_in":3600}`)
		case r.Header.Get("Authorization") != "Bearer a-token":
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+address+`/token",service="test",scope="repository:org/web:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			fmt.Fprint(w, `{"tags":["1.0.0","1.1.0"]}`)
		}
	}))
	defer s.Close()
	address = strings.TrimPrefix(s.URL, "https://")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	l.create(&corev1.Secret{ObjectMeta: l.meta("tls"), Data: map[string][]byte{"ca.crt": ca}})
	l.create(&corev1.Secret{ObjectMeta: l.meta("login"), Type: corev1.SecretTypeDockerConfigJson, Data: dockerConfig(address, password)})
	repo := l.repository("web", "0.1.0")
	l.update(repo, func() { repo.Spec.Image, repo.Spec.SecretRef.Name = address+"/org/web", "login" })
	_ = l.scan(repo)
	l.ready(repo, metav1.ConditionFalse, imagev1.ReadOperationFailedReason, "certificate")
	l.update(repo, func() { repo.Spec.CertSecretRef = &meta.LocalObjectReference{Name: "tls"} })
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	l.ready(repo, metav1.ConditionTrue, meta.SucceededReason, "found 2 tags")
	requests.Store(0)
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	if requests.Load() != 1 || logins.Load() != 1 {
		t.Errorf("an unchanged scan cost %d requests; %d logins in all", requests.Load(), logins.Load())
	}
	l.update(repo, func() { repo.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "git"} })
	_ = l.scan(repo)
	l.ready(repo, metav1.ConditionFalse, imagev1.AuthenticationFailedReason, "spec.proxySecretRef")
}

// TestTenAndAPerson lets ten automations and a person push to one branch, for two
// tags, or for a minute with WEIR_LOAD set: each tag makes a commit for each
// automation, and every commit of the person stays.
func TestTenAndAPerson(t *testing.T) {
	const automations = 10
	began := time.Now()
	another := func(tags int) bool { return tags < 2 }
	if os.Getenv("WEIR_LOAD") != "" {
		another = func(int) bool { return time.Since(began) < time.Minute }
	}
	var pushes atomic.Int64
	var l *lab
	var person sync.Mutex
	commits := 0
	l = newLab(t, labOptions{git: gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The person is faster than every third push.
			if strings.HasSuffix(r.URL.Path, "/git-receive-pack") && r.Method == http.MethodPost && pushes.Add(1)%3 == 0 {
				person.Lock()
				commits++
				if _, err := l.git.Commit("fleet", "main", "by hand", map[string]string{fmt.Sprintf("hand-%d", commits): "x"}); err != nil {
					t.Error(err)
				}
				person.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	}}})
	p := l.chosen()
	files := map[string]string{}
	for i := range automations {
		files[fmt.Sprintf("team-%d/web.yaml", i)] = l.web("1.0.0")
	}
	first := l.automation("fleet", files, func(a *imagev1.ImageUpdateAutomation) { a.Spec.Update = &imagev1.UpdateStrategy{Path: "team-0"} })
	names := []string{first.Name}
	for i := 1; i < automations; i++ {
		auto := &imagev1.ImageUpdateAutomation{ObjectMeta: l.meta(fmt.Sprintf("fleet-%d", i)), Spec: *first.Spec.DeepCopy()}
		auto.Spec.Update.Path = fmt.Sprintf("team-%d", i)
		l.create(auto)
		names = append(names, auto.Name)
	}
	began = time.Now()
	tags := 0
	for ; another(tags); tags++ {
		l.next(p, fmt.Sprintf("2.%d.0", tags))
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				if _, err := l.automations.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: l.ns, Name: name}}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
	}
	log := l.log("fleet", "main")
	if ours := len(log) - 1 - commits; ours != automations*tags || commits < 5 {
		t.Errorf("%d commits for %d changes, %d by hand", ours, automations*tags, commits)
	}
	t.Logf("in %s %d tags made %d commits, and a person %d; %d pushes", time.Since(began).Round(time.Second), tags, automations*tags, commits, pushes.Load())
	for i := range automations {
		if got := l.file("fleet", "main", fmt.Sprintf("team-%d/web.yaml", i)); got != l.web(fmt.Sprintf("2.%d.0", tags-1)) {
			t.Errorf("team %d: %q", i, got)
		}
	}
	for i := range commits {
		l.file("fleet", "main", fmt.Sprintf("hand-%d", i+1))
	}
}
