package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// hub is GitHub's API for pull requests of one repository, beside the real Git
// server: the tip of a pull request is that of its branch.
type hub struct {
	l     *lab
	token string // "" means the password of the Git server
	mu    sync.Mutex

	pulls  []map[string]any
	calls  []string
	fail   int // how many calls to refuse
	pushes atomic.Int64
}

func (h *hub) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/v3/") {
			if strings.HasSuffix(r.URL.Path, "/git-receive-pack") && r.Method == http.MethodPost {
				h.pushes.Add(1)
			}
			next.ServeHTTP(w, r)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		token := password
		if h.token != "" {
			token = h.token
		}
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, `{"message":"Bad credentials"}`, http.StatusUnauthorized)
			return
		}
		if h.fail > 0 {
			h.fail--
			http.Error(w, `{"message":"out of order"}`, http.StatusInternalServerError)
			return
		}
		h.serve(w, r)
	})
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	const root = "/api/v3/repos/org/fleet/pulls"
	body := map[string]any{}
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			h.l.t.Error(err)
		}
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == root:
		h.calls = append(h.calls, "list")
		for _, p := range h.pulls {
			if p["state"] == "open" {
				p["head"].(map[string]any)["sha"], _ = h.l.git.Head("org/fleet", p["head"].(map[string]any)["ref"].(string))
			}
		}
		_ = json.NewEncoder(w).Encode(h.pulls)
	case r.Method == http.MethodPost && r.URL.Path == root:
		h.calls = append(h.calls, fmt.Sprintf("create %s->%s: %s | %s", body["head"], body["base"], body["title"], body["body"]))
		sha, err := h.l.git.Head("org/fleet", body["head"].(string))
		if err != nil {
			http.Error(w, `{"message":"Validation Failed"}`, http.StatusUnprocessableEntity)
			return
		}
		p := map[string]any{
			"number": len(h.pulls) + 1, "html_url": fmt.Sprintf("https://hub/org/fleet/pull/%d", len(h.pulls)+1), "state": "open", "title": body["title"], "body": body["body"],
			"head": map[string]any{"ref": body["head"], "sha": sha}, "base": map[string]any{"ref": body["base"]},
		}
		h.pulls = append(h.pulls, p)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(p)
	case r.Method == http.MethodPatch:
		h.calls = append(h.calls, fmt.Sprintf("edit %s: %s | %s", strings.TrimPrefix(r.URL.Path, root+"/"), body["title"], body["body"]))
		fmt.Fprint(w, `{}`)
	default:
		h.l.t.Errorf("%s %s", r.Method, r.URL.Path)
	}
}

func (h *hub) took() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.calls
	h.calls = nil
	return out
}

// proposing makes an automation that opens pull requests.
func proposing(t *testing.T, change func(*imagev1.ImageUpdateAutomation)) (*lab, *hub, *imagev1.ImagePolicy, *imagev1.ImageUpdateAutomation) {
	t.Helper()
	h := &hub{}
	l := newLab(t, labOptions{git: gitserver.Options{Middleware: h.middleware}})
	h.l = l
	p := l.chosen()
	if err := l.git.Init("org/fleet", map[string]string{"web.yaml": l.web("1.0.0")}); err != nil {
		t.Fatal(err)
	}
	auto := l.automation("fleet", map[string]string{"unused.yaml": ""}, func(a *imagev1.ImageUpdateAutomation) {
		a.Annotations = map[string]string{"weir.dev/pull-request": "github"}
		a.Spec.GitSpec.Commit.MessageTemplate = "Update web\n\n{{ range .Changed.Changes }}- {{ .OldValue | splitList \":\" | last }} -> {{ .NewValue | splitList \":\" | last }}\n{{ end }}"
		if change != nil {
			change(a)
		}
	})
	source := &sourcev1.GitRepository{ObjectMeta: l.meta("fleet")}
	l.update(source, func() { source.Spec.URL = l.git.URL("org/fleet") })
	return l, h, p, auto
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	l, h, p, auto := proposing(t, nil)
	branch := "image-updates/" + l.ns + "/fleet"
	step := func(calls []string, log ...string) {
		t.Helper()
		if err := l.commit(auto); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(calls, h.took()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(log, l.log("org/fleet", branch)); diff != "" {
			t.Error(diff)
		}
	}
	step([]string{"list", "create " + branch + "->main: Update web | - 1.0.0 -> 1.1.0"}, "Update web", "first commit")
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason, "pull request https://hub/org/fleet/pull/1 is open")
	if told := l.told(); len(told) != 1 || !strings.Contains(told[0], "to branch '"+branch+"' for pull request https://hub/org/fleet/pull/1") {
		t.Errorf("events: %q", told)
	}
	if main := l.file("org/fleet", "main", "web.yaml"); main != l.web("1.0.0") {
		t.Errorf("the branch itself was changed: %q", main)
	}
	step(nil, "Update web", "first commit") // nothing new: no request
	if told := l.told(); len(told) != 0 {
		t.Errorf("events: %q", told)
	}

	// Another tag makes the commit anew; the pull request is the same.
	l.next(p, "1.2.0")
	step([]string{"list", "edit 1: Update web | - 1.0.0 -> 1.2.0"}, "Update web", "first commit")

	// A person commits to the branch: that is kept, and what is theirs as well.
	if _, err := l.git.Commit("org/fleet", branch, "review", map[string]string{"notes.txt": "x"}); err != nil {
		t.Fatal(err)
	}
	l.next(p, "1.3.0")
	step([]string{"list", "edit 1: Update web | - 1.0.0 -> 1.3.0"}, "Update web", "review", "Update web", "first commit")
	l.next(p, "1.4.0")
	step([]string{"list", "edit 1: Update web | - 1.0.0 -> 1.4.0"}, "Update web", "Update web", "review", "Update web", "first commit")
	if l.file("org/fleet", branch, "notes.txt") != "x" || l.file("org/fleet", branch, "web.yaml") != l.web("1.4.0") {
		t.Error("the branch lost something")
	}

	// It is closed: that is an answer, until there is something else to say.
	h.mu.Lock()
	h.pulls[0]["state"] = "closed"
	h.mu.Unlock()
	step(nil, "Update web", "Update web", "review", "Update web", "first commit")
	l.next(p, "1.5.0")
	step([]string{"list", "create " + branch + "->main: Update web | - 1.0.0 -> 1.5.0"}, "Update web", "Update web", "Update web", "review", "Update web", "first commit")

	// Squashed into main, the branch left behind: there is nothing to propose.
	if _, err := l.git.Commit("org/fleet", "main", "squashed", map[string]string{"web.yaml": l.web("1.5.0"), "notes.txt": "x"}); err != nil {
		t.Fatal(err)
	}
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if calls := h.took(); len(calls) != 0 {
		t.Errorf("calls: %q", calls)
	}
	l.ready(auto, metav1.ConditionTrue, meta.SucceededReason, "repository up-to-date")
}

// TestMergedBranchIsStartedAnew merges a pull request by squashing, and leaves
// its branch: the next one must not drag old commits along.
func TestMergedBranchIsStartedAnew(t *testing.T) {
	t.Parallel()
	l, h, p, auto := proposing(t, func(a *imagev1.ImageUpdateAutomation) { a.Spec.GitSpec.Push = &imagev1.PushSpec{Branch: "updates"} })
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if _, err := l.git.Commit("org/fleet", "main", "squashed", map[string]string{"web.yaml": l.web("1.1.0")}); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.pulls[0]["state"] = "closed"
	h.mu.Unlock()
	if err := l.commit(auto); err != nil { // nothing to propose
		t.Fatal(err)
	}
	l.next(p, "1.2.0")
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Update web", "squashed", "first commit"}, l.log("org/fleet", "updates")); diff != "" {
		t.Error(diff)
	}
	if len(h.pulls) != 2 {
		t.Errorf("%d pull requests, want 2", len(h.pulls))
	}
}

// TestPullRequestLater has an API that is out of order after the push: the push
// is told and not made again, and the pull request comes when it can.
func TestPullRequestLater(t *testing.T) {
	t.Parallel()
	l, h, _, auto := proposing(t, nil)
	branch := "image-updates/" + l.ns + "/fleet"
	h.fail = 1
	if err := l.commit(auto); err == nil {
		t.Error("a host that is out of order was not noticed")
	}
	l.ready(auto, metav1.ConditionFalse, imagev1.GitOperationFailedReason, "cannot list pull requests")
	if auto.Status.LastPushCommit == "" {
		t.Error("the push is not on record")
	}
	head := auto.Status.LastPushCommit
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if auto.Status.LastPushCommit != head || len(h.pulls) != 1 {
		t.Errorf("commit %s, before %s; %d pull requests", auto.Status.LastPushCommit, head, len(h.pulls))
	}
	want := []string{
		fmt.Sprintf("Normal Succeeded pushed commit '%s' to branch '%s'", head[:7], branch),
		"Warning GitOperationFailed",
		"Normal Succeeded opened pull request https://hub/org/fleet/pull/1",
	}
	told := l.told()
	for i, text := range want {
		if len(told) != len(want) || !strings.HasPrefix(told[i], text) {
			t.Fatalf("events: %q, want %q", told, want)
		}
	}
	if log := l.log("org/fleet", branch); len(log) != 2 || h.pushes.Load() != 1 {
		t.Errorf("%d pushes made the commits %q", h.pushes.Load(), log)
	}
}

func TestPullRequestForEachUpdate(t *testing.T) {
	t.Parallel()
	l, h, p, auto := proposing(t, func(a *imagev1.ImageUpdateAutomation) {
		a.Annotations["weir.dev/pull-request-branch"] = `web-{{ (index .Changed.Changes 0).NewValue | splitList ":" | last }}`
	})
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	l.next(p, "1.2.0")
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if len(h.pulls) != 2 {
		t.Fatalf("%d pull requests, want one for each tag", len(h.pulls))
	}
	for _, tag := range []string{"1.1.0", "1.2.0"} {
		if got := l.file("org/fleet", "web-"+tag, "web.yaml"); got != l.web(tag) {
			t.Errorf("web-%s: %q", tag, got)
		}
	}
}

func TestPullRequestRefusals(t *testing.T) {
	t.Parallel()
	l, h, _, _ := proposing(t, nil)
	l.create(&corev1.Secret{ObjectMeta: l.meta("token"), Data: map[string][]byte{"token": []byte(password)}})
	l.create(&corev1.Secret{ObjectMeta: l.meta("bad-token"), Data: map[string][]byte{"token": []byte("wrong-token")}})
	annotate := func(pairs ...string) func(*imagev1.ImageUpdateAutomation) {
		return func(a *imagev1.ImageUpdateAutomation) {
			for i := 0; i < len(pairs); i += 2 {
				a.Annotations["weir.dev/pull-request"+pairs[i]] = pairs[i+1]
			}
		}
	}
	i := 0
	for name, c := range map[string]struct {
		change func(*imagev1.ImageUpdateAutomation)
		reason string
		text   string
		stall  bool
	}{
		"the checkout branch": {func(a *imagev1.ImageUpdateAutomation) { a.Spec.GitSpec.Push = &imagev1.PushSpec{Branch: "main"} }, imagev1.InvalidSourceConfigReason, "another one", true},
		"two branches": {func(a *imagev1.ImageUpdateAutomation) {
			annotate("-branch", "x")(a)
			a.Spec.GitSpec.Push = &imagev1.PushSpec{Branch: "y"}
		}, imagev1.InvalidSourceConfigReason, "keep one", true},
		"a tag": {func(a *imagev1.ImageUpdateAutomation) {
			a.Spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Tag: "v1"}}
		}, imagev1.InvalidSourceConfigReason, "branch by name", true},
		"no branch name":         {annotate("-branch", "a b"), imagev1.UpdateFailedReason, `"refs/heads/a b"`, true},
		"the base as template":   {annotate("-branch", "{{ \"main\" }}"), imagev1.UpdateFailedReason, "checked out", true},
		"a template bomb":        {annotate("-branch", "{{ range 9000000000 }}{{ end }}"), imagev1.UpdateFailedReason, "stopped", true},
		"somebody else's host":   {annotate("-address", "https://evil.example.com/api"), imagev1.InvalidSourceConfigReason, "not sent there", true},
		"no secret":              {annotate("-secret", "absent"), imagev1.SourceManagerFailedReason, `"absent"`, false},
		"a secret without token": {annotate("-secret", "git"), imagev1.SourceManagerFailedReason, `"token"`, false},
		"a wrong token":          {annotate("-secret", "bad-token"), imagev1.GitOperationFailedReason, "Bad credentials", false},
		"a good token":           {annotate("-secret", "token", "-address", l.git.URL("api/v3")), meta.SucceededReason, "is open", false},
	} {
		t.Run(name, func(t *testing.T) {
			i++
			auto := &imagev1.ImageUpdateAutomation{ObjectMeta: l.meta(fmt.Sprintf("case-%d", i)), Spec: imagev1.ImageUpdateAutomationSpec{
				SourceRef: imagev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "fleet"},
				GitSpec:   &imagev1.GitSpec{Commit: imagev1.CommitSpec{Author: imagev1.CommitUser{Email: "bot@example.com"}}},
			}}
			auto.Spec.Interval.Duration = time.Hour
			auto.Annotations = map[string]string{"weir.dev/pull-request": "github"}
			c.change(auto)
			l.create(auto)
			_ = l.commit(auto)
			status := metav1.ConditionFalse
			if c.reason == meta.SucceededReason {
				status = metav1.ConditionTrue
			}
			l.ready(auto, status, c.reason, c.text)
			if stalled(auto) != c.stall || strings.Contains(fmt.Sprint(auto.Status), "wrong-token") {
				t.Errorf("stalled %v, want %v", stalled(auto), c.stall)
			}
		})
	}
	if calls := h.took(); len(calls) != 2 {
		t.Errorf("calls: %q", calls)
	}
}

// TestForeignBranch has a push branch that is somebody else's: what is there
// stays, whether it was there before or came between our look and our push.
func TestForeignBranch(t *testing.T) {
	t.Parallel()
	var l *lab
	races := 1
	l = newLab(t, labOptions{git: gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("service") == "git-receive-pack" && races > 0 {
				races--
				if _, err := l.git.Commit("fleet", "feature", "in between", map[string]string{"between.txt": "x"}); err != nil {
					t.Error(err)
				}
			}
			next.ServeHTTP(w, r)
		})
	}}})
	p := l.chosen()
	auto := l.automation("fleet", map[string]string{"web.yaml": l.web("1.0.0")}, func(a *imagev1.ImageUpdateAutomation) {
		a.Spec.GitSpec.Push = &imagev1.PushSpec{Branch: "feature"}
	})
	if _, err := l.git.Commit("fleet", "feature", "theirs", map[string]string{"theirs.txt": "x"}); err != nil {
		t.Fatal(err)
	}
	const ours = "Update from image update automation"
	want := []string{ours, "in between", "theirs", "first commit"}
	for range 2 {
		if err := l.commit(auto); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, l.log("fleet", "feature")); diff != "" {
			t.Error(diff)
		}
	}
	message, err := l.git.Git("fleet", "log", "-1", "--format=%B", "feature")
	if err != nil || !strings.Contains(message, "\nOn-top-of: ") {
		t.Errorf("the message %q does not say that there are others (%v)", message, err)
	}
	l.next(p, "1.2.0")
	if err := l.commit(auto); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{ours}, want...), l.log("fleet", "feature")); diff != "" {
		t.Error(diff)
	}

	// Another automation of the same branch goes on from there, and so does the first.
	other := &imagev1.ImageUpdateAutomation{ObjectMeta: l.meta("other"), Spec: *auto.Spec.DeepCopy()}
	l.create(other)
	for range 2 {
		if err := l.commit(other); err != nil {
			t.Fatal(err)
		}
		if err := l.commit(auto); err != nil {
			t.Fatal(err)
		}
	}
	if log := l.log("fleet", "feature"); len(log) != len(want)+1 {
		t.Errorf("two automations push for ever: %q", log)
	}
}
