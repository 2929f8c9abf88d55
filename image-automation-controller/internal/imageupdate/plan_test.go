package imageupdate

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
)

func TestMakePlan(t *testing.T) {
	type (
		ref  = sourcev1.GitRepositoryRef
		push = imagev1.PushSpec
	)
	for name, c := range map[string]struct {
		source, checkout *ref
		push             *push
		path             string
		want             plan
		text             string // of the error
	}{
		"nothing said":                    {want: plan{Checkout: gitrepo.Ref{Branch: "master"}, Branch: "master"}},
		"the source's branch":             {source: &ref{Branch: "main"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main"}},
		"its own branch":                  {source: &ref{Branch: "main"}, checkout: &ref{Branch: "dev"}, want: plan{Checkout: gitrepo.Ref{Branch: "dev"}, Branch: "dev"}},
		"another push branch":             {source: &ref{Branch: "main"}, push: &push{Branch: "auto"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "auto", Separate: true}},
		"the same push branch":            {source: &ref{Branch: "main"}, push: &push{Branch: "main"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main"}},
		"a full name of a push branch":    {source: &ref{Branch: "main"}, push: &push{Branch: "refs/heads/main"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main"}},
		"a branch by full name":           {source: &ref{Name: "refs/heads/main"}, want: plan{Checkout: gitrepo.Ref{Name: "refs/heads/main"}, Branch: "main"}},
		"a tag":                           {source: &ref{Tag: "v1"}, text: "spec.git.push.branch"},
		"a tag and a push branch":         {source: &ref{Tag: "v1"}, push: &push{Branch: "auto"}, want: plan{Checkout: gitrepo.Ref{Tag: "v1"}, Branch: "auto", Separate: true}},
		"a commit":                        {source: &ref{Branch: "main", Commit: strings.Repeat("a", 40)}, text: "spec.git.push.branch"},
		"a range":                         {source: &ref{SemVer: "*"}, text: "spec.git.push.branch"},
		"a pull request":                  {source: &ref{Name: "refs/pull/1/head"}, text: "spec.git.push.branch"},
		"options alone":                   {source: &ref{Branch: "main"}, push: &push{Options: map[string]string{"a": "b"}}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main", Options: map[string]string{"a": "b"}}},
		"a refspec alone":                 {source: &ref{Branch: "main"}, push: &push{Refspec: "refs/heads/main:refs/for/main"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Refspec: "refs/heads/main:refs/for/main", Target: "refs/for/main"}},
		"a refspec and a branch":          {source: &ref{Branch: "main"}, push: &push{Branch: "main", Refspec: "HEAD:b"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main", Refspec: "HEAD:b", Target: "b"}},
		"a refspec that forces":           {source: &ref{Branch: "main"}, push: &push{Refspec: "+a:b"}, text: "forced"},
		"a refspec that deletes":          {source: &ref{Branch: "main"}, push: &push{Refspec: ":b"}, text: "deletions"},
		"a refspec of the push branch":    {source: &ref{Branch: "main"}, push: &push{Branch: "auto", Refspec: "auto:refs/x"}, want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "auto", Separate: true, Refspec: "auto:refs/x", Target: "refs/x"}},
		"a refspec of another branch":     {source: &ref{Branch: "main"}, push: &push{Refspec: "other:x"}, text: "left side"},
		"a refspec without a target":      {source: &ref{Branch: "main"}, push: &push{Refspec: "main:"}, text: "<from>:<to>"},
		"a folder":                        {source: &ref{Branch: "main"}, path: "./apps//prod/", want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main", Dirs: []string{"apps/prod"}}},
		"the root":                        {source: &ref{Branch: "main"}, path: "./", want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main"}},
		"an absolute folder":              {source: &ref{Branch: "main"}, path: "/apps", want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main", Dirs: []string{"apps"}}},
		"a folder outside":                {source: &ref{Branch: "main"}, path: "apps/../../x", text: "spec.update.path"},
		"a folder that comes back inside": {source: &ref{Branch: "main"}, path: "apps/../x", want: plan{Checkout: gitrepo.Ref{Branch: "main"}, Branch: "main", Dirs: []string{"x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			auto := &imagev1.ImageUpdateAutomation{}
			auto.Spec.SourceRef.Kind = sourcev1.GitRepositoryKind
			auto.Spec.GitSpec = &imagev1.GitSpec{Push: c.push}
			auto.Spec.Update = &imagev1.UpdateStrategy{Path: c.path}
			if c.checkout != nil {
				auto.Spec.GitSpec.Checkout = &imagev1.GitCheckoutSpec{Reference: *c.checkout}
			}
			source := &sourcev1.GitRepository{}
			source.Spec.Reference = c.source
			got, err := makePlan(auto, source)
			if c.text != "" {
				if f, ok := errors.AsType[*loop.Failure](err); !ok || !f.Final || !strings.Contains(err.Error(), c.text) {
					t.Errorf("got %v, want a stall with %q", err, c.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.want.Dirs == nil {
				c.want.Dirs = []string{""}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLines asserts that one branch is updated by one at a time, that others are
// not held up, and that nothing is remembered of those who have left.
func TestLines(t *testing.T) {
	var l lines
	var inside, runs atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			release, err := l.enter(t.Context(), "main")
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if inside.Add(1) != 1 {
				t.Error("two at a time")
			}
			runs.Add(1)
			inside.Add(-1)
		})
	}
	wg.Wait()
	if runs.Load() != 20 {
		t.Errorf("%d of 20 had their turn", runs.Load())
	}
	release, err := l.enter(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.enter(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.enter(ended, "main"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	release()
	if len(l.heads) != 0 {
		t.Errorf("%d lines are left", len(l.heads))
	}
}

func TestTimeoutOf(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Minute, "20s": 20 * time.Second, "0s": time.Minute, "9999999999h": time.Minute} {
		source := &sourcev1.GitRepository{}
		if text != "" {
			source.Spec.Timeout = &duration.Duration{}
			if err := json.Unmarshal([]byte(`"`+text+`"`), source.Spec.Timeout); err != nil {
				t.Fatal(err)
			}
		}
		if got := timeoutOf(source); got != want {
			t.Errorf("spec.timeout %q gives a run %s, want %s", text, got, want)
		}
	}
}
