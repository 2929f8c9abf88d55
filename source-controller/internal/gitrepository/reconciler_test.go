package gitrepository

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

func TestPublish(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"deploy/a.yaml": "kind: A", "logo.png": "x"})
	hash := g.commit("app", "Second commit\n\nwith more to say", map[string]string{"deploy/b.yaml": "kind: B"})
	g.create("app", nil)
	repo := g.Ready("app")

	a := repo.Status.Artifact
	want := &meta.Artifact{
		Path: "gitrepository/" + g.NS + "/app/" + hash + ".tar.gz", URL: "http://source-controller.test/gitrepository/" + g.NS + "/app/" + hash + ".tar.gz",
		Revision: "main@sha1:" + hash, Digest: a.Digest, Size: a.Size, LastUpdateTime: a.LastUpdateTime,
	}
	if d := cmp.Diff(want, a); d != "" {
		t.Errorf("artifact (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"deploy/a.yaml": "kind: A", "deploy/b.yaml": "kind: B"}, g.Content(a)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	message := "stored artifact for revision 'main@sha1:" + hash + "'"
	for _, kind := range []string{meta.ReadyCondition, sourcev1.ArtifactInStorageCondition} {
		c := apimeta.FindStatusCondition(repo.Status.Conditions, kind)
		if c == nil || c.Status != metav1.ConditionTrue || c.Reason != meta.SucceededReason || c.Message != message {
			t.Errorf("%s is %+v", kind, c)
		}
	}
	told := g.Told()
	if len(told) != 1 || !strings.HasPrefix(told[0], "Normal NewArtifact stored artifact for commit 'Second commit'") ||
		!strings.Contains(told[0], sourcev1.GroupVersion.Group+"/revision:main@sha1:"+hash) || !strings.Contains(told[0], "/digest:"+a.Digest) {
		t.Errorf("events are %q", told)
	}
}

// At rest, a look costs one request to the Git server and nothing else.
func TestNothingNew(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "kind: A"})
	g.create("app", nil)
	first := g.Ready("app")
	g.Told()
	for range 3 {
		before := g.git.Requests()
		if now := g.Ready("app"); now.ResourceVersion != first.ResourceVersion {
			t.Fatalf("the object was written: %s", cmp.Diff(first, now))
		}
		if n := g.git.Requests() - before; n != 1 {
			t.Errorf("%d requests to the Git server", n)
		}
	}
	if told := g.Told(); len(told) > 0 {
		t.Errorf("events are %q", told)
	}
}

func TestNewCommit(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "1", "b.yaml": "1"})
	g.create("app", nil)
	first := g.Ready("app").Status.Artifact
	g.Told()
	hash := g.commit("app", "change", map[string]string{"a.yaml": "2"}, "b.yaml")
	second := g.Ready("app").Status.Artifact
	if second.Revision != "main@sha1:"+hash || second.Digest == first.Digest {
		t.Errorf("the artifact is %+v", second)
	}
	if d := cmp.Diff(map[string]string{"a.yaml": "2"}, g.Content(second)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	g.Content(first) // stays for those who still read it
	if told := g.Told(); len(told) != 1 || !strings.Contains(told[0], "'change'") {
		t.Errorf("events are %q", told)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "1"})
	first := g.commit("app", "one", map[string]string{"a.yaml": "1.0"})
	if err := g.git.Tag("app", "v1.0.0", first, ""); err != nil {
		t.Fatal(err)
	}
	second := g.commit("app", "two", map[string]string{"a.yaml": "1.1"})
	if err := g.git.Tag("app", "v1.1.0", second, "a release"); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		ref           *sourcev1.GitRepositoryRef
		want, content string
	}{
		"branch": {&sourcev1.GitRepositoryRef{Branch: "main"}, "main@sha1:" + second, "1.1"},
		"tag":    {&sourcev1.GitRepositoryRef{Tag: "v1.0.0"}, "v1.0.0@sha1:" + first, "1.0"},
		"semver": {&sourcev1.GitRepositoryRef{SemVer: ">=1.0.0 <2"}, "v1.1.0@sha1:" + second, "1.1"},
		"name":   {&sourcev1.GitRepositoryRef{Name: "refs/heads/main"}, "refs/heads/main@sha1:" + second, "1.1"},
		"commit": {&sourcev1.GitRepositoryRef{Commit: first}, "sha1:" + first, "1.0"},
	}
	for name, tt := range tests {
		g.create(name, func(r *sourcev1.GitRepository) { r.Spec.URL, r.Spec.Reference = g.git.URL("app"), tt.ref })
		a := g.Ready(name).Status.Artifact
		if got := g.Content(a)["a.yaml"]; a.Revision != tt.want || got != tt.content {
			t.Errorf("%s: revision %q with %q, want %q with %q", name, a.Revision, got, tt.want, tt.content)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{Username: "anna", Password: "right password"})
	g.init("app", map[string]string{"a.yaml": "kind: A"})
	g.Secret("right", "username", "anna", "password", "right password")
	g.Secret("wrong", "username", "anna", "password", "wrong password")
	g.Secret("half", "username", "anna")
	use := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	tests := map[string]struct {
		change func(*sourcev1.GitRepositorySpec)
		reason string
		texts  []string
		stall  bool
	}{
		"wrong password":    {func(s *sourcev1.GitRepositorySpec) { s.SecretRef = use("wrong") }, sourcev1.AuthenticationFailedReason, nil, false},
		"no password":       {func(s *sourcev1.GitRepositorySpec) { s.SecretRef = use("half") }, sourcev1.AuthenticationFailedReason, nil, false},
		"no secret":         {func(s *sourcev1.GitRepositorySpec) { s.SecretRef = use("none") }, sourcev1.AuthenticationFailedReason, []string{"none"}, false},
		"anonymous":         {func(s *sourcev1.GitRepositorySpec) { s.SecretRef = nil }, sourcev1.AuthenticationFailedReason, nil, false},
		"unknown branch":    {func(s *sourcev1.GitRepositorySpec) { s.Reference.Branch = "none" }, sourcev1.GitOperationFailedReason, []string{"refs/heads/none"}, false},
		"unknown repo":      {func(s *sourcev1.GitRepositorySpec) { s.URL = g.git.URL("none") }, sourcev1.GitOperationFailedReason, nil, false},
		"unreachable":       {func(s *sourcev1.GitRepositorySpec) { s.URL = "http://127.0.0.1:1/app.git" }, sourcev1.GitOperationFailedReason, []string{"127.0.0.1:1"}, false},
		"ssh without a key": {func(s *sourcev1.GitRepositorySpec) { s.URL = "ssh://git@127.0.0.1/app.git" }, sourcev1.AuthenticationFailedReason, []string{"identity"}, false},
		"url of nowhere":    {func(s *sourcev1.GitRepositorySpec) { s.URL = "https://" }, sourcev1.URLInvalidReason, nil, true},
		"semver":            {func(s *sourcev1.GitRepositorySpec) { s.Reference.SemVer = "not a range" }, sourcev1.URLInvalidReason, []string{"not a range"}, true},
		"sparse":            {func(s *sourcev1.GitRepositorySpec) { s.SparseCheckout = []string{"none"} }, sourcev1.GitOperationFailedReason, []string{"spec.sparseCheckout", "none"}, false},
		"ignore":            {func(s *sourcev1.GitRepositorySpec) { long := strings.Repeat("x\n", 20000); s.Ignore = &long }, sourcev1.SourceIgnoreErrorReason, []string{"spec.ignore"}, false},
		"verify without keys": {func(s *sourcev1.GitRepositorySpec) {
			s.Verification = &sourcev1.GitRepositoryVerification{SecretRef: *use("keys")}
		}, sourcev1.VerificationError, []string{"spec.verify.secretRef", "keys"}, false},
		"proxy":    {func(s *sourcev1.GitRepositorySpec) { s.ProxySecretRef = use("half") }, sourcev1.AuthenticationFailedReason, []string{"spec.proxySecretRef", "address"}, false},
		"provider": {func(s *sourcev1.GitRepositorySpec) { s.Provider, s.SecretRef = "github", nil }, sourcev1.InvalidProviderConfigurationReason, []string{`spec.provider "github"`}, true},
		"app":      {func(s *sourcev1.GitRepositorySpec) { s.Provider = "github" }, sourcev1.InvalidProviderConfigurationReason, []string{"githubAppID"}, false},
		"account": {func(s *sourcev1.GitRepositorySpec) {
			s.Provider, s.ServiceAccountName, s.URL = "azure", "x", "https://dev.azure.com/a/_git/b"
		}, meta.FeatureGateDisabledReason, []string{"ObjectLevelWorkloadIdentity"}, true},
		"cloud": {func(s *sourcev1.GitRepositorySpec) { s.Provider = "aws" }, sourcev1.InvalidProviderConfigurationReason, []string{"AWS CodeCommit"}, true},
	}
	const object = "app"
	g.create(object, func(r *sourcev1.GitRepository) { r.Spec.SecretRef = use("right") })
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g.T = t
			good := g.Ready(object)
			g.Update(object, func(r *sourcev1.GitRepository) { tt.change(&r.Spec) })
			g.Told()
			repo := g.Fails(object, tt.reason, tt.texts...)
			if got := apimeta.IsStatusConditionTrue(repo.Status.Conditions, meta.StalledCondition); got != tt.stall {
				t.Errorf("stalled is %v, want %v", got, tt.stall)
			}
			if d := cmp.Diff(good.Status.Artifact, repo.Status.Artifact); d != "" {
				t.Errorf("the artifact changed (-before +now):\n%s", d)
			}
			if told := g.Told(); len(told) != 1 || !strings.HasPrefix(told[0], "Warning "+tt.reason+" ") || strings.Contains(told[0], "wrong password") {
				t.Errorf("events are %q", told)
			}
			g.Reconcile(object)
			if told := g.Told(); len(told) > 0 {
				t.Errorf("the same failure is told again: %q", told)
			}
			g.Update(object, func(r *sourcev1.GitRepository) { r.Spec = good.Spec })
			if now := g.Ready(object); now.Status.Artifact.Digest != good.Status.Artifact.Digest {
				t.Error("another artifact after recovery")
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{Middleware: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}})
	g.create("app", func(r *sourcev1.GitRepository) {
		d := duration.New(300 * time.Millisecond)
		r.Spec.Timeout = &d
	})
	start := time.Now()
	g.Fails("app", sourcev1.GitOperationFailedReason, "spec.timeout of 300ms")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a server that hangs costs %s", took)
	}
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "", "docs/b.md": "", "deploy/c.yaml": "", "deploy/.sourceignore": "d.yaml\n", "deploy/d.yaml": ""})
	g.create("app", nil)
	if d := cmp.Diff([]string{"a.yaml", "deploy/.sourceignore", "deploy/c.yaml", "docs/b.md"}, names(g.Content(g.Ready("app").Status.Artifact))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	rules := "/*\n!/deploy\n!d.yaml\n"
	g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.Ignore = &rules })
	repo := g.Ready("app")
	if d := cmp.Diff([]string{"deploy/.sourceignore", "deploy/c.yaml", "deploy/d.yaml"}, names(g.Content(repo.Status.Artifact))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if repo.Status.ObservedIgnore == nil || *repo.Status.ObservedIgnore != rules {
		t.Errorf("observedIgnore is %v", repo.Status.ObservedIgnore)
	}
}

func TestSparseCheckout(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "", "apps/one/a.yaml": "", "apps/two/b.yaml": "", "apps/oneself/c.yaml": "", "base/x": ""})
	g.create("app", func(r *sourcev1.GitRepository) { r.Spec.SparseCheckout = []string{"./apps/one/", "base"} })
	repo := g.Ready("app")
	if d := cmp.Diff([]string{"apps/one/a.yaml", "base/x"}, names(g.Content(repo.Status.Artifact))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if d := cmp.Diff(repo.Spec.SparseCheckout, repo.Status.ObservedSparseCheckout); d != "" {
		t.Errorf("observed (-want +got):\n%s", d)
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "1"})
	g.create("app", nil)
	before := g.Ready("app").Status.Artifact
	g.commit("app", "two", map[string]string{"a.yaml": "2"})
	g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.Suspend = true })
	requests := g.git.Requests()
	if now := g.Reconcile("app").Status.Artifact; now.Revision != before.Revision || g.git.Requests() != requests {
		t.Errorf("a suspended repository moved to %s with %d requests", now.Revision, g.git.Requests()-requests)
	}
	g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.Suspend = false })
	if now := g.Ready("app").Status.Artifact; now.Revision == before.Revision {
		t.Error("nothing happened after the suspension")
	}
}

func TestStorageHeals(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, g *rig, a *meta.Artifact){
		"wiped": func(t *testing.T, g *rig, _ *meta.Artifact) { wipe(t, g) },
		"wiped and restarted": func(t *testing.T, g *rig, _ *meta.Artifact) {
			wipe(t, g)
			g.restart()
		},
		"restarted": func(_ *testing.T, g *rig, _ *meta.Artifact) { g.restart() },
		"tampered": func(t *testing.T, g *rig, a *meta.Artifact) {
			if err := os.WriteFile(filepath.Join(g.Storage, a.Path), []byte("something else"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, gitserver.Options{})
			g.init("app", map[string]string{"a.yaml": "kind: A"})
			g.create("app", nil)
			before := g.Ready("app").Status.Artifact
			g.Told()
			harm(t, g, before)
			after := g.Ready("app").Status.Artifact
			if after.Digest != before.Digest || after.Revision != before.Revision {
				t.Errorf("healed to %+v, want %+v", after, before)
			}
			if d := cmp.Diff(map[string]string{"a.yaml": "kind: A"}, g.Content(after)); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			told := g.Told()
			if changed := name == "tampered"; changed != (len(told) == 1 && strings.HasPrefix(told[0], "Warning "+sourcev1.ArtifactVerificationFailedReason+" ")) || !changed && len(told) > 0 {
				t.Errorf("told is %q", told)
			}
		})
	}
}

func wipe(t *testing.T, g *rig) {
	t.Helper()
	entries, err := os.ReadDir(g.Storage)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(g.Storage, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// While the storage is empty and Git cannot be had, status names no artifact.
func TestStorageLostWithoutGit(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "kind: A"})
	g.create("app", nil)
	g.Ready("app")
	wipe(t, g)
	g.git.Close()
	repo := g.Fails("app", sourcev1.GitOperationFailedReason)
	if repo.Status.Artifact != nil || apimeta.FindStatusCondition(repo.Status.Conditions, sourcev1.ArtifactInStorageCondition) != nil {
		t.Errorf("status names an artifact that is gone: %+v", repo.Status)
	}
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "kind: A"})
	g.create("app", nil)
	repo := g.Ready("app")
	if err := g.C.Delete(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	g.Loop.Reconcile(t.Context(), request(repo))
	if err := g.C.Get(t.Context(), client.ObjectKeyFromObject(repo), repo); !apierrors.IsNotFound(err) {
		t.Errorf("the object is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(g.Storage, filepath.Dir(repo.Status.Artifact.Path))); !os.IsNotExist(err) {
		t.Errorf("its artifacts are still there: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{Bearer: "a-token", TLS: true})
	g.init("app", map[string]string{"a.yaml": "kind: A"})
	g.Secret("git", "bearerToken", "a-token", "ca.crt", string(g.git.CA()))
	g.create("app", func(r *sourcev1.GitRepository) { r.Spec.SecretRef = &meta.LocalObjectReference{Name: "git"} })
	g.Ready("app")
}
