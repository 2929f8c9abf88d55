package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/testenv"
)

// web is a file whose formatting a YAML printer would not keep.
const web = `# the web tier


apiVersion: apps/v1
kind:   Deployment
metadata: {name: web,   namespace: shop}
spec:
      template:
            spec:
                  containers:
                  -   name: "web"
                      image: IMAGE:TAG # {"$imagepolicy": "NS:web"}
`

func (l *lab) web(tag string) string {
	return strings.NewReplacer("IMAGE", l.registry.image("web"), "TAG", tag, "NS", l.ns).Replace(web)
}

// chosen makes a repository and a policy that has chosen the tag 1.1.0.
func (l *lab) chosen() *imagev1.ImagePolicy {
	l.t.Helper()
	repo, p := l.repository("web", "1.0.0", "1.1.0"), l.policy("web", "web", ">=1.0.0")
	if err := l.scan(repo); err != nil {
		l.t.Fatal(err)
	}
	if err := l.choose(p); err != nil {
		l.t.Fatal(err)
	}
	l.told()
	return p
}

// next pushes a tag, scans and chooses.
func (l *lab) next(p *imagev1.ImagePolicy, tag string) {
	l.t.Helper()
	l.registry.push("web", tag)
	repo := &imagev1.ImageRepository{ObjectMeta: l.meta("web")}
	if err := l.scan(repo); err != nil {
		l.t.Fatal(err)
	}
	if err := l.choose(p); err != nil {
		l.t.Fatal(err)
	}
	l.told()
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	p := l.chosen()
	script := "#!/bin/sh\nexit 0\n"
	auto := l.automation("fleet", map[string]string{
		"apps/web.yaml": l.web("1.0.0"), "apps/run.sh": script, "README.md": "image: x # {\"$imagepolicy\": \"" + l.ns + ":web\"}\n",
		"values.yml": "tag: '1.0.0'   # {\"$imagepolicy\": \"" + l.ns + ":web:tag\"}\r\nother: 1 # {\"$imagepolicy\": \"" + l.ns + ":nobody\"}\r\n",
	}, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.GitSpec.Commit.MessageTemplate = "{{ .AutomationObject.Name }}:{{ range .Changed.Changes }} {{ .NewValue }}{{ end }} on {{ .Values.cluster }}"
		a.Spec.GitSpec.Commit.MessageTemplateValues = map[string]string{"cluster": "prod"}
	})
	before, err := l.git.Head("fleet", "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason, "repository up-to-date")
	head, err := l.git.Head("fleet", "main")
	if err != nil || head == before || auto.Status.LastPushCommit != head {
		t.Fatalf("head %s, before %s, status %s, %v", head, before, auto.Status.LastPushCommit, err)
	}
	if got, want := auto.Status.ObservedSourceRevision, "main@sha1:"+head; got != want {
		t.Errorf("observed revision %q, want %q", got, want)
	}
	if diff := cmp.Diff(imagev1.ObservedPolicies{"web": *p.Status.LatestRef}, auto.Status.ObservedPolicies); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(l.web("1.1.0"), l.file("fleet", "main", "apps/web.yaml")); diff != "" {
		t.Error(diff)
	}
	want := "tag: '1.1.0'   # {\"$imagepolicy\": \"" + l.ns + ":web:tag\"}\r\nother: 1 # {\"$imagepolicy\": \"" + l.ns + ":nobody\"}\r\n"
	if diff := cmp.Diff(want, l.file("fleet", "main", "values.yml")); diff != "" {
		t.Error(diff)
	}
	stat, err := l.git.Git("fleet", "diff", "--raw", "--no-renames", "--abbrev=4", before, head)
	if err != nil || len(strings.Split(strings.TrimSpace(stat), "\n")) != 2 || strings.Count(stat, ":100644 100644") != 2 {
		t.Errorf("the commit touches more than two files or their modes: %q, %v", stat, err)
	}
	message := fmt.Sprintf("fleet: %s:1.1.0 1.1.0 on prod", l.registry.image("web"))
	show, err := l.git.Git("fleet", "show", "-s", "--format=%an <%ae>|%cn <%ce>|%P|%B", head)
	if err != nil || strings.TrimSpace(show) != "Bot <bot@example.com>|Bot <bot@example.com>|"+before+"|"+message {
		t.Errorf("the commit says %q, %v", show, err)
	}
	if fsck, err := l.git.Git("fleet", "fsck", "--strict"); err != nil {
		t.Errorf("git fsck: %q, %v", fsck, err)
	}
	if told := l.told(); len(told) != 1 || !strings.HasPrefix(told[0], fmt.Sprintf("Normal Succeeded pushed commit '%s' to branch 'main'\n%s", head[:7], message)) {
		t.Errorf("events: %q", told)
	}

	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if again, _ := l.git.Head("fleet", "main"); again != head || len(l.told()) != 0 {
		t.Error("a second run committed or told something")
	}
	if _, err := l.git.Commit("fleet", "main", "by hand", map[string]string{"other.txt": "x"}); err != nil {
		t.Fatal(err)
	}
	l.next(p, "1.2.0")
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.web("1.2.0"), l.file("fleet", "main", "apps/web.yaml")); diff != "" {
		t.Error(diff)
	}
	if log := l.log("fleet", "main"); len(log) != 4 || log[1] != "by hand" {
		t.Errorf("log: %q", log)
	}
}

// TestForeignCommit lets somebody else push between our fetch and our push.
func TestForeignCommit(t *testing.T) {
	t.Parallel()
	var l *lab
	var races atomic.Int32
	races.Store(2)
	l = newLab(t, labOptions{git: gitserver.Options{Middleware: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/git-receive-pack") && r.Method == http.MethodPost {
				if n := races.Add(-1); n >= 0 {
					if _, err := l.git.Commit("fleet", "main", "foreign", map[string]string{fmt.Sprintf("foreign-%d.yaml", n): "a: 1\n"}); err != nil {
						t.Error(err)
					}
				}
			}
			h.ServeHTTP(w, r)
		})
	}}})
	l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, nil)
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Update from image update automation", "foreign", "foreign", "first commit"}, l.log("fleet", "main")); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"foreign-0.yaml", "foreign-1.yaml"} {
		if l.file("fleet", "main", name) != "a: 1\n" {
			t.Errorf("%s is gone", name)
		}
	}
	if diff := cmp.Diff(l.web("1.1.0"), l.file("fleet", "main", "web.yaml")); diff != "" {
		t.Error(diff)
	}
}

// TestLostAnswer cuts the connection after a push was taken.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	cut.Store(true)
	l := newLab(t, labOptions{git: gitserver.Options{Middleware: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/git-receive-pack") && r.Method == http.MethodPost && cut.CompareAndSwap(true, false) {
				h.ServeHTTP(discard{http.Header{}}, r)
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	}}})
	l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, nil)
	_ = l.commit(auto)
	_ = l.commit(auto)
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason)
	if log := l.log("fleet", "main"); len(log) != 2 {
		t.Errorf("one change made the commits %q", log)
	}
}

// TestLostStatus has an API server that is out of order after a push: the next run
// pushes nothing, and records and tells what was pushed.
func TestLostStatus(t *testing.T) {
	t.Parallel()
	down := true
	l := newLab(t, labOptions{between: &interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, o ...client.SubResourcePatchOption) error {
			if _, ours := obj.(*imagev1.ImageUpdateAutomation); ours && down {
				return errors.New("out of order")
			}
			return c.SubResource(sub).Patch(ctx, obj, patch, o...)
		},
	}})
	l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.GitSpec.Push = &imagev1.PushSpec{Branch: "updates"}
	})
	if err := l.commit(auto); err == nil || auto.Status.LastPushCommit != "" || len(l.told()) != 0 {
		t.Fatalf("the API server is not out of order: %v", err)
	}
	down = false
	for range 2 {
		if err := l.commit(auto); err != nil {
			t.Fatal(err)
		}
	}
	head, err := l.git.Head("fleet", "updates")
	if err != nil || auto.Status.LastPushCommit != head {
		t.Errorf("status has the commit %q, the branch %q, %v", auto.Status.LastPushCommit, head, err)
	}
	if log := l.log("fleet", "updates"); len(log) != 2 {
		t.Errorf("one change made the commits %q", log)
	}
	if told := l.told(); len(told) != 1 || !strings.HasPrefix(told[0], fmt.Sprintf("Normal Succeeded pushed commit '%s' to branch 'updates'", head[:7])) {
		t.Errorf("events: %q", told)
	}
}

// discard is a response that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func TestUpdateRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{noCrossNamespace: true})
	l.chosen()
	l.create(&corev1.Secret{ObjectMeta: l.meta("wrong"), Data: map[string][]byte{"username": []byte(user), "password": []byte("wrong-password")}})
	type automation = imagev1.ImageUpdateAutomation
	template := func(text string) func(*automation) {
		return func(a *automation) { a.Spec.GitSpec.Commit.MessageTemplate = text }
	}
	for name, c := range map[string]struct {
		change func(*automation)
		source func(*sourcev1.GitRepositorySpec)
		file   string
		hook   string
		reason string
		text   string
		stall  bool
	}{
		"no-git": {change: func(a *automation) { a.Spec.GitSpec = nil }, reason: imagev1.InvalidSourceConfigReason, text: "spec.git", stall: true},
		"no-signing-key": {change: func(a *automation) {
			a.Spec.GitSpec.Commit.SigningKey = &imagev1.SigningKey{SecretRef: meta.LocalObjectReference{Name: "absent"}}
		}, reason: imagev1.SourceManagerFailedReason, text: "spec.git.commit.signingKey"},
		"bad-signing-key": {change: func(a *automation) {
			a.Spec.GitSpec.Commit.SigningKey = &imagev1.SigningKey{SecretRef: meta.LocalObjectReference{Name: "git"}}
		}, reason: imagev1.SourceManagerFailedReason, text: "git.asc"},
		"no-source":       {change: func(a *automation) { a.Spec.SourceRef.Name = "absent" }, reason: imagev1.SourceManagerFailedReason, text: "absent"},
		"other-namespace": {change: func(a *automation) { a.Spec.SourceRef.Namespace = "kube-system" }, reason: imagev1.AccessDeniedReason, text: "kube-system", stall: true},
		"bad-selector": {change: func(a *automation) {
			a.Spec.PolicySelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
		}, reason: imagev1.InvalidPolicySelectorReason, text: "policySelector", stall: true},
		"outside":   {change: func(a *automation) { a.Spec.Update = &imagev1.UpdateStrategy{Path: "../../etc"} }, reason: imagev1.UpdateFailedReason, text: "spec.update.path", stall: true},
		"no-folder": {change: func(a *automation) { a.Spec.Update = &imagev1.UpdateStrategy{Path: "./nothing"} }, reason: imagev1.UpdateFailedReason, text: `"nothing"`},
		"no-branch": {change: func(a *automation) {
			a.Spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "absent"}}
		}, reason: imagev1.GitOperationFailedReason, text: "absent"},
		"tag-without-push": {change: func(a *automation) {
			a.Spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Tag: "v1"}}
		}, reason: imagev1.InvalidSourceConfigReason, text: "spec.git.push.branch", stall: true},
		"removed-field":      {change: template("{{ .Updated.Images }}"), reason: imagev1.RemovedTemplateFieldReason, text: ".Changed", stall: true},
		"unknown-annotation": {change: func(a *automation) { a.Annotations = map[string]string{"weir.dev/pull-requests": "github"} }, reason: imagev1.InvalidSourceConfigReason, text: "weir.dev/pull-requests", stall: true},
		"unknown-host":       {change: func(a *automation) { a.Annotations = map[string]string{"weir.dev/pull-request": "cvs"} }, reason: imagev1.InvalidSourceConfigReason, text: `"cvs"`, stall: true},
		"only-a-branch":      {change: func(a *automation) { a.Annotations = map[string]string{"weir.dev/pull-request-branch": "x"} }, reason: imagev1.InvalidSourceConfigReason, text: "weir.dev/pull-request", stall: true},
		"paths-outside":      {change: func(a *automation) { a.Annotations = map[string]string{"weir.dev/update-paths": "apps, ../../etc"} }, reason: imagev1.InvalidSourceConfigReason, text: "leaves the repository", stall: true},
		"template-bomb":      {change: template("{{ range 9000000000 }}{{ end }}"), reason: imagev1.UpdateFailedReason, text: "stopped", stall: true},
		"bad-template":       {change: template("{{ nope }}"), reason: imagev1.UpdateFailedReason, text: "nope", stall: true},
		"wrong-password":     {source: func(s *sourcev1.GitRepositorySpec) { s.SecretRef.Name = "wrong" }, reason: imagev1.GitOperationFailedReason, text: ""},
		"no-secret":          {source: func(s *sourcev1.GitRepositorySpec) { s.SecretRef.Name = "absent" }, reason: imagev1.SourceManagerFailedReason, text: `"absent"`},
		"not-yaml":           {file: "{{ if }}\nimage: x # {\"$imagepolicy\": \"a:b\"}\n", reason: imagev1.UpdateFailedReason, text: `"bad.yaml"`},
		"block-scalar":       {file: "a: 1\nimage: >- # {\"$imagepolicy\": \"NS:web\"}\n  x\n", reason: imagev1.UpdateFailedReason, text: `"bad.yaml": line 2`},
		"protected": {hook: "#!/bin/sh\necho 'GitLab: You are not allowed to push code to protected branches on this project.' >&2\nexit 1\n",
			reason: imagev1.GitOperationFailedReason, text: "set spec.git.push.branch", stall: true},
		"gitea-protected": {hook: "#!/bin/sh\necho 'Gitea: Not allowed to push to protected branch main' >&2\nexit 1\n",
			reason: imagev1.GitOperationFailedReason, text: "protected branch main", stall: true},
		"hooked": {hook: "#!/bin/sh\necho 'the branch main is protected' >&2\nexit 1\n", reason: imagev1.GitOperationFailedReason, text: "main"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"web.yaml": l.web("1.0.0")}
			if c.file != "" {
				files["bad.yaml"] = strings.ReplaceAll(c.file, "NS", l.ns)
			}
			auto := l.automation(name, files, c.change)
			if c.source != nil {
				source := &sourcev1.GitRepository{ObjectMeta: l.meta(name)}
				l.update(source, func() { c.source(&source.Spec) })
			}
			if c.hook != "" {
				if err := l.git.Hook(name, "pre-receive", c.hook); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.commit(auto); err == nil {
				t.Error("the run succeeded")
			}
			l.ready(auto, metav1.ConditionFalse, c.reason, c.text)
			if stalled(auto) != c.stall {
				t.Errorf("stalled %v, want %v", stalled(auto), c.stall)
			}
			if log := l.log(name, "main"); len(log) != 1 {
				t.Errorf("a failed run committed: %q", log)
			}
		})
	}
}

// TestSeparateBranch pushes to a branch that is not the one checked out.
func TestSeparateBranch(t *testing.T) {
	t.Parallel()
	for _, force := range []bool{true, false} {
		t.Run(fmt.Sprintf("force %v", force), func(t *testing.T) {
			l := newLab(t, labOptions{noForce: !force})
			p := l.chosen()
			auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, func(a *imagev1.ImageUpdateAutomation) {
				a.Spec.GitSpec.Push = &imagev1.PushSpec{Branch: "updates"}
			})
			runs := func(log ...string) {
				t.Helper()
				if err := l.commit(auto); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(log, l.log("fleet", "updates")); diff != "" {
					t.Error(diff)
				}
				if main := l.file("fleet", "main", "web.yaml"); main != l.web("1.0.0") {
					t.Errorf("the checkout branch was changed: %q", main)
				}
			}
			const ours = "Update from image update automation"
			runs(ours, "first commit")
			head := auto.Status.LastPushCommit
			runs(ours, "first commit")
			if auto.Status.LastPushCommit != head {
				t.Error("the same update was pushed twice")
			}
			l.next(p, "1.2.0")
			if force {
				runs(ours, "first commit")
			} else {
				runs(ours, ours, "first commit")
			}
			if diff := cmp.Diff(l.web("1.2.0"), l.file("fleet", "updates", "web.yaml")); diff != "" {
				t.Error(diff)
			}
			if _, err := l.git.Commit("fleet", "main", "moved on", map[string]string{"other.txt": "x"}); err != nil {
				t.Fatal(err)
			}
			if force {
				runs(ours, "moved on", "first commit")
			} else {
				runs(ours, ours, "first commit")
			}
		})
	}
}

func TestRefspecAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	p := l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.GitSpec.Push = &imagev1.PushSpec{Refspec: "refs/heads/main:refs/heads/review"}
	})
	for range 2 {
		if err := l.commit(auto); err != nil {
			t.Fatal(err)
		}
	}
	if log := l.log("fleet", "review"); len(log) != 2 {
		t.Errorf("review: %q", log)
	}
	if log := l.log("fleet", "main"); len(log) != 1 {
		t.Errorf("main: %q", log)
	}
	if told := l.told(); len(told) != 1 || !strings.Contains(told[0], "to refspecs 'refs/heads/main:refs/heads/review'") {
		t.Errorf("events: %q", told)
	}
	first := auto.Status.LastPushCommit
	l.next(p, "1.2.0")
	_ = l.commit(auto)
	if auto.Status.LastPushCommit == first {
		l.ready(auto, metav1.ConditionFalse, imagev1.GitOperationFailedReason)
	}
}

func TestPolicySelector(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	p := l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.PolicySelector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "web"}}
	})
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if log := l.log("fleet", "main"); len(log) != 1 || len(auto.Status.ObservedPolicies) != 0 {
		t.Errorf("a policy that is not selected was used: %q", log)
	}
	l.update(p, func() { p.Labels = map[string]string{"tier": "web"} })
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if log := l.log("fleet", "main"); len(log) != 2 {
		t.Errorf("log: %q", log)
	}
}

// TestOtherNamespace uses a source of another namespace, with the Secret there,
// and never a policy of another namespace.
func TestOtherNamespace(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	l.chosen()
	foreign := testenv.Namespace(t)
	l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, nil)
	auto := &imagev1.ImageUpdateAutomation{ObjectMeta: metav1.ObjectMeta{Namespace: foreign, Name: "fleet"}, Spec: imagev1.ImageUpdateAutomationSpec{
		SourceRef: imagev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "fleet", Namespace: l.ns},
		GitSpec:   &imagev1.GitSpec{Commit: imagev1.CommitSpec{Author: imagev1.CommitUser{Email: "bot@example.com"}}},
	}}
	auto.Spec.Interval.Duration = time.Hour
	l.create(auto)
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason)
	if log := l.log("fleet", "main"); len(log) != 1 {
		t.Errorf("a marker of another namespace was followed: %q", log)
	}
}

// TestNothingIsLeft asserts that runs leave no temporary files of their own.
func TestNothingIsLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	l := newLab(t, labOptions{})
	l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, nil)
	before, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadDir(tmp)
	if err != nil || len(after) != len(before) {
		t.Errorf("%d temporary files, before %d (%v)", len(after), len(before), err)
	}
}

// TestSignedCommit lets Git verify the signature of a commit.
func TestSignedCommit(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	l.chosen()
	private, public, err := gitserver.NewIdentity("")
	if err != nil {
		t.Fatal(err)
	}
	signers := t.TempDir() + "/signers"
	if err := os.WriteFile(signers, append([]byte("bot@example.com "), public...), 0o600); err != nil {
		t.Fatal(err)
	}
	l.create(&corev1.Secret{ObjectMeta: l.meta("signing"), Data: map[string][]byte{"identity": private}})
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.GitSpec.Commit.SigningKey = &imagev1.SigningKey{SecretRef: meta.LocalObjectReference{Name: "signing"}, Type: imagev1.SigningKeyTypeSSH}
	})
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if out, err := l.git.Git("fleet", "-c", "gpg.ssh.allowedSignersFile="+signers, "verify-commit", "main"); err != nil {
		t.Errorf("git does not verify the commit: %q, %v", out, err)
	}
}

// TestManyOnOneBranch lets several automations work on one branch at the same
// moment, while somebody else is faster with every other push: every commit is
// kept, and there is one for each change.
func TestManyOnOneBranch(t *testing.T) {
	t.Parallel()
	const automations = 4
	var l *lab
	var pushes, foreign atomic.Int32
	l = newLab(t, labOptions{git: gitserver.Options{Middleware: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/git-receive-pack") && r.Method == http.MethodPost && pushes.Add(1)%2 == 1 {
				if _, err := l.git.Commit("fleet", "main", "foreign", map[string]string{fmt.Sprintf("foreign-%d", foreign.Add(1)): "x"}); err != nil {
					t.Error(err)
				}
			}
			h.ServeHTTP(w, r)
		})
	}}})
	l.chosen()
	files := map[string]string{}
	for i := range automations {
		files[fmt.Sprintf("team-%d/web.yaml", i)] = l.web("1.0.0")
	}
	first := l.automation("fleet", files, func(a *imagev1.ImageUpdateAutomation) { a.Spec.Update = &imagev1.UpdateStrategy{Path: "team-0"} })
	names := []string{"fleet"}
	for i := 1; i < automations; i++ {
		auto := &imagev1.ImageUpdateAutomation{ObjectMeta: l.meta(fmt.Sprintf("fleet-%d", i)), Spec: *first.Spec.DeepCopy()}
		auto.Spec.Update.Path = fmt.Sprintf("team-%d", i)
		l.create(auto)
		names = append(names, auto.Name)
	}
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			if _, err := l.automations.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: l.ns, Name: name}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	log := l.log("fleet", "main")
	if ours := len(log) - 1 - int(foreign.Load()); ours != automations || foreign.Load() < automations {
		t.Errorf("%d commits of %d automations, %d foreign ones: %q", ours, automations, foreign.Load(), log)
	}
	for i := range automations {
		if diff := cmp.Diff(l.web("1.1.0"), l.file("fleet", "main", fmt.Sprintf("team-%d/web.yaml", i))); diff != "" {
			t.Error(diff)
		}
	}
	for i := range foreign.Load() {
		l.file("fleet", "main", fmt.Sprintf("foreign-%d", i+1))
	}
}
