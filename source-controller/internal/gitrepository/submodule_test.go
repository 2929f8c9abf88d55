package gitrepository

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// link commits submodules into a repository: path, address, commit each.
func (g *rig) link(name string, modules ...string) string {
	g.T.Helper()
	var file strings.Builder
	var entries []gitserver.Entry
	for i := 0; i < len(modules); i += 3 {
		fmt.Fprintf(&file, "[submodule %q]\n\tpath = %s\n\turl = %s\n", modules[i], modules[i], modules[i+1])
		entries = append(entries, gitserver.Entry{Mode: "160000", Path: modules[i], Content: modules[i+2]})
	}
	return g.commitEntries(name, append(entries, gitserver.Entry{Mode: "100644", Path: ".gitmodules", Content: file.String()})...)
}

func (g *rig) commitEntries(name string, entries ...gitserver.Entry) string {
	g.T.Helper()
	hash, err := g.git.CommitEntries(name, gitserver.Branch, "submodules", entries)
	if err != nil {
		g.T.Fatal(err)
	}
	return hash
}

func (g *rig) head(name string) string {
	g.T.Helper()
	hash, err := g.git.Head(name, gitserver.Branch)
	if err != nil {
		g.T.Fatal(err)
	}
	return hash
}

func recursive(r *sourcev1.GitRepository) { r.Spec.RecurseSubmodules = true }

func TestSubmodules(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("org/lib", map[string]string{"lib.yaml": "1", "sub/.sourceignore": "x.yaml\n", "sub/x.yaml": "", "sub/y.yaml": ""})
	g.init("org/deep", map[string]string{"deep.yaml": "1"})
	deep := g.head("org/deep")
	g.link("org/lib", "vendor/deep", "../deep", deep)
	lib := g.head("org/lib")
	g.init("org/app", map[string]string{"app.yaml": "1"})
	g.link("org/app", "libs/lib", g.git.URL("org/lib"), lib, "libs/again", "../deep", deep)
	g.commit("org/lib", "not pinned", map[string]string{"lib.yaml": "2"})
	g.commit("org/deep", "not pinned", map[string]string{"deep.yaml": "2"})
	create := func(name string, change func(*sourcev1.GitRepository)) {
		g.create(name, func(r *sourcev1.GitRepository) {
			r.Spec.URL = g.git.URL("org/app")
			change(r)
		})
	}
	create("plain", func(*sourcev1.GitRepository) {})
	create("app", recursive)

	plain := g.Ready("plain")
	if d := cmp.Diff(map[string]string{"app.yaml": "1"}, g.Content(plain.Status.Artifact)); d != "" {
		t.Errorf("without submodules (-want +got):\n%s", d)
	}
	app := g.Ready("app")
	want := map[string]string{"app.yaml": "1", "libs/lib/lib.yaml": "1", "libs/lib/sub/.sourceignore": "x.yaml\n", "libs/lib/sub/y.yaml": "",
		"libs/lib/vendor/deep/deep.yaml": "1", "libs/again/deep.yaml": "1"}
	if d := cmp.Diff(want, g.Content(app.Status.Artifact)); d != "" {
		t.Errorf("with submodules (-want +got):\n%s", d)
	}
	if !app.Status.ObservedRecurseSubmodules || app.Status.Artifact.Revision != plain.Status.Artifact.Revision {
		t.Errorf("status is %+v", app.Status)
	}
	before := g.git.Requests()
	if now := g.Ready("app"); now.ResourceVersion != app.ResourceVersion || g.git.Requests() != before+1 {
		t.Errorf("a look at rest cost %d requests", g.git.Requests()-before)
	}

	// A change of the root alone asks for nothing of the submodules.
	g.commit("org/app", "change", map[string]string{"app.yaml": "2"})
	before = g.git.Requests()
	if got := g.Content(g.Ready("app").Status.Artifact); got["app.yaml"] != "2" || got["libs/lib/lib.yaml"] != "1" || g.git.Requests() != before+2 {
		t.Errorf("%v after %d requests", got, g.git.Requests()-before)
	}
	// A moved pin publishes.
	g.link("org/app", "libs/lib", g.git.URL("org/lib"), g.head("org/lib"), "libs/again", "../deep", deep)
	if got := g.Content(g.Ready("app").Status.Artifact); got["libs/lib/lib.yaml"] != "2" {
		t.Errorf("files are %v", got)
	}

	g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.SparseCheckout = []string{"libs/lib/sub"} })
	if d := cmp.Diff([]string{"libs/lib/sub/.sourceignore", "libs/lib/sub/y.yaml"}, names(g.Content(g.Ready("app").Status.Artifact))); d != "" {
		t.Errorf("sparse (-want +got):\n%s", d)
	}
	g.Update("app", func(r *sourcev1.GitRepository) {
		ignore := "/*\n!/libs\n/libs/*\n!/libs/again\n"
		r.Spec.SparseCheckout, r.Spec.Ignore = nil, &ignore
	})
	if d := cmp.Diff([]string{"libs/again/deep.yaml"}, names(g.Content(g.Ready("app").Status.Artifact))); d != "" {
		t.Errorf("ignored (-want +got):\n%s", d)
	}
	g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.RecurseSubmodules, r.Spec.Ignore = false, nil })
	if now := g.Ready("app"); now.Status.ObservedRecurseSubmodules || now.Status.Artifact.Digest != g.Ready("plain").Status.Artifact.Digest {
		t.Errorf("without submodules again: %+v", now.Status)
	}
}

// A repository that is a submodule of itself, at an older commit.
func TestSubmoduleOfItself(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "1"})
	g.link("app", "old", "./../app", g.head("app"))
	g.create("app", recursive)
	if d := cmp.Diff(map[string]string{"a.yaml": "1", "old/a.yaml": "1"}, g.Content(g.Ready("app").Status.Artifact)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

// What a repository says of its submodules is not trusted.
func TestHostileSubmodules(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("lib", map[string]string{"lib.yaml": "1"})
	lib := g.head("lib")
	file := func(text string) gitserver.Entry {
		return gitserver.Entry{Mode: "100644", Path: ".gitmodules", Content: text}
	}
	gitlink := func(path string) gitserver.Entry { return gitserver.Entry{Mode: "160000", Path: path, Content: lib} }
	module := func(path, url string) string {
		return "[submodule \"m\"]\n\tpath = " + path + "\n\turl = " + url + "\n"
	}
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, "[submodule \"%d\"]\npath = p%d\nurl = ../lib\n", i, i)
	}
	g.init("app", map[string]string{"a.yaml": "1"})
	first := g.head("app")
	g.create("app", recursive)
	good := g.Ready("app").Status.Artifact
	for name, tt := range map[string]struct {
		entries []gitserver.Entry
		text    string // of the error; "" for an artifact without submodules
	}{
		"path leaves root": {[]gitserver.Entry{file(module("../../etc", "../lib")), gitlink("m")}, "leads nowhere"},
		"absolute path":    {[]gitserver.Entry{file(module("/etc", "../lib")), gitlink("m")}, "leads nowhere"},
		"path into git":    {[]gitserver.Entry{file(module("a/.git/hooks", "../lib")), gitlink("m")}, "leads nowhere"},
		"ext url":          {[]gitserver.Entry{file(module("m", "ext::sh -c id")), gitlink("m")}, "not supported"},
		"file url":         {[]gitserver.Entry{file(module("m", "file:///etc")), gitlink("m")}, "not supported"},
		"local path":       {[]gitserver.Entry{file(module("m", "/etc/lib")), gitlink("m")}, "not supported"},
		"option":           {[]gitserver.Entry{file(module("m", "--upload-pack=touch")), gitlink("m")}, "not supported"},
		"above the server": {[]gitserver.Entry{file(module("m", "../../../../lib")), gitlink("m")}, "above the server"},
		"no config":        {[]gitserver.Entry{file("[submodule \"m\"\npath"), gitlink("m")}, ".gitmodules"},
		"too large":        {[]gitserver.Entry{file(strings.Repeat("# x\n", 20000)), gitlink("m")}, "limit"},
		"too many":         {[]gitserver.Entry{file(many.String()), gitlink("p1")}, "more than"},
		"twice":            {[]gitserver.Entry{file(module("m", "../lib") + strings.Replace(module("m", "../lib"), `"m"`, `"n"`, 1)), gitlink("m")}, "two submodules"},
		"nowhere":          {[]gitserver.Entry{file(module("m", "../none")), gitlink("m")}, "none"},
		"no such commit":   {[]gitserver.Entry{file(module("m", "../lib")), {Mode: "160000", Path: "m", Content: strings.Repeat("1", 40)}}, "not our ref"},
		"this machine":     {[]gitserver.Entry{file(module("m", "http://127.0.0.1:1/lib")), gitlink("m")}, "of this machine"},
		"metadata service": {[]gitserver.Entry{file(module("m", "http://169.254.169.254/latest")), gitlink("m")}, "of this machine"},
		"symlinked parent": {[]gitserver.Entry{{Mode: "120000", Path: "l", Content: "real"}, gitlink("real/m"), file(module("l/m", "../lib"))}, ""},
		"not described":    {[]gitserver.Entry{gitlink("m")}, ""},
		"not there":        {[]gitserver.Entry{file(module("m", "../lib"))}, ""},
		"a link":           {[]gitserver.Entry{{Mode: "120000", Path: ".gitmodules", Content: "real"}, gitlink("m"), {Mode: "100644", Path: "real", Content: module("m", "../lib")}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.T = t
			g.commitEntries("app", tt.entries...)
			if tt.text == "" {
				for f := range g.Content(g.Ready("app").Status.Artifact) {
					if strings.Contains(f, "lib.yaml") {
						t.Errorf("the artifact has %q", f)
					}
				}
			} else if got := g.Fails("app", sourcev1.GitOperationFailedReason, "submodule", tt.text).Status.Artifact; !got.HasDigest(good.Digest) || !got.HasRevision(good.Revision) {
				t.Errorf("the artifact was %+v and is %+v", good, got)
			}
			if _, err := g.git.Git("app", "update-ref", "refs/heads/main", first); err != nil {
				t.Fatal(err)
			}
			if got := g.Ready("app").Status.Artifact; !got.HasDigest(good.Digest) || !got.HasRevision(good.Revision) {
				t.Errorf("after the repair the artifact is %+v, want %+v", got, good)
			}
		})
	}
}

// Submodules in submodules end, in depth and in number.
func TestSubmoduleBounds(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("m0", map[string]string{"a.yaml": "1"})
	for i := 1; i <= maxSubmoduleDepth+1; i++ {
		name := fmt.Sprintf("m%d", i)
		g.init(name, map[string]string{"a.yaml": name})
		g.link(name, "m", fmt.Sprintf("../m%d", i-1), g.head(fmt.Sprintf("m%d", i-1)))
	}
	g.create("deep", func(r *sourcev1.GitRepository) {
		r.Spec.URL, r.Spec.RecurseSubmodules = g.git.URL(fmt.Sprintf("m%d", maxSubmoduleDepth)), true
	})
	if n := len(g.Content(g.Ready("deep").Status.Artifact)); n != maxSubmoduleDepth+1 {
		t.Errorf("%d files", n)
	}
	g.Update("deep", func(r *sourcev1.GitRepository) { r.Spec.URL = g.git.URL(fmt.Sprintf("m%d", maxSubmoduleDepth+1)) })
	g.Fails("deep", sourcev1.GitOperationFailedReason, "deep")

	wide := func(name, of string) {
		var modules []string
		for i := range 15 {
			modules = append(modules, fmt.Sprintf("p%d", i), "../"+of, g.head(of))
		}
		g.init(name, map[string]string{"a.yaml": "1"})
		g.link(name, modules...)
	}
	wide("w1", "m0")
	wide("w2", "w1")
	g.create("wide", func(r *sourcev1.GitRepository) { r.Spec.URL, r.Spec.RecurseSubmodules = g.git.URL("w2"), true })
	g.Fails("wide", sourcev1.GitOperationFailedReason, "more than 200 submodules")
}

// Credentials go to the server of the repository, and no other gets any.
func TestSubmoduleCredentials(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{Username: "anna", Password: "right password"})
	var seen []string
	other, err := gitserver.Start(gitserver.Options{Middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = append(seen, r.Header.Get("Authorization"))
			next.ServeHTTP(w, r)
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Init("lib", map[string]string{"lib.yaml": "1"}); err != nil {
		t.Fatal(err)
	}
	pin, err := other.Head("lib", gitserver.Branch)
	if err != nil {
		t.Fatal(err)
	}
	g.Secret("git", "username", "anna", "password", "right password")
	g.allowLocal = true
	g.restart()
	g.init("near", map[string]string{"near.yaml": "1"})
	g.init("app", map[string]string{"a.yaml": "1"})
	g.link("app", "near", "../near", g.head("near"), "far", other.URL("lib"), pin)
	g.create("app", func(r *sourcev1.GitRepository) {
		r.Spec.RecurseSubmodules, r.Spec.SecretRef = true, &meta.LocalObjectReference{Name: "git"}
	})
	if d := cmp.Diff(map[string]string{"a.yaml": "1", "near/near.yaml": "1", "far/lib.yaml": "1"}, g.Content(g.Ready("app").Status.Artifact)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if len(seen) == 0 || strings.Join(seen, "") != "" {
		t.Errorf("the other server saw %q", seen)
	}
	// The same server by another scheme is another one.
	u, err := url.Parse(g.git.URL("near"))
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme = "https"
	g.link("app", "near", u.String(), g.head("near"))
	repo := g.Fails("app", sourcev1.GitOperationFailedReason, `submodule "near"`)
	for _, c := range repo.Status.Conditions {
		if strings.Contains(c.Message, "right password") {
			t.Errorf("the password is told: %s", c.Message)
		}
	}
}

// The pinned commit is no tip, and the server gives tips only: it is found in the
// history of the branch.
func TestSubmoduleOfAnOldServer(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{V0: true, TipsOnly: true})
	g.init("lib", map[string]string{"lib.yaml": "1"})
	pin := g.head("lib")
	g.commit("lib", "newer", map[string]string{"lib.yaml": "2"})
	g.init("app", map[string]string{"a.yaml": "1"})
	g.link("app", "lib", "../lib", pin)
	g.create("app", recursive)
	if got := g.Content(g.Ready("app").Status.Artifact)["lib/lib.yaml"]; got != "1" {
		t.Errorf("the file is %q", got)
	}
	g.link("app", "lib", "../lib", strings.Repeat("1", 40))
	g.Fails("app", sourcev1.GitOperationFailedReason, "not in the history of")
}

// A signature of the repository is asked for before its submodules are.
func TestSubmodulesAfterVerification(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	anna := newSigner(t)
	g.keys(anna)
	g.init("lib", map[string]string{"lib.yaml": "1"})
	g.init("app", map[string]string{"a.yaml": "1"})
	g.link("app", "lib", "../lib", g.head("lib"))
	g.create("app", func(r *sourcev1.GitRepository) {
		recursive(r)
		verifying(sourcev1.ModeGitHEAD)(r)
	})
	g.Fails("app", sourcev1.InvalidCommitSignatureReason, "not signed")
	unsigned := g.git.Requests()
	g.sign("app", anna, "signed")
	if got := g.Content(g.Ready("app").Status.Artifact)["lib/lib.yaml"]; got != "1" {
		t.Errorf("the file is %q", got)
	}
	if unsigned > 3 { // capabilities, refs, the commit itself
		t.Errorf("%d requests for an unsigned commit", unsigned)
	}
}
