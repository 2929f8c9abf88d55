package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

// statuses checks what a forge is told in view of what it has: current holds
// answers with the status of sample ("failure") and with another text
// ("other").
func statuses(t *testing.T, name string, current map[string]string) {
	t.Helper()
	answering := func(answer string) *sink {
		return newSink(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
	}
	to := answering(current["failure"])
	if err := senderTo(t, name, to.URL).Send(context.Background(), sample()); err != nil || len(to.seen) != 1 {
		t.Errorf("a status that is there already: %d requests, %v", len(to.seen), err)
	}
	to = answering(current["other"])
	if err := senderTo(t, name, to.URL).Send(context.Background(), sample()); err != nil || len(to.seen) != 2 {
		t.Errorf("a status that says something else: %d requests, %v", len(to.seen), err)
	}
	to = answering(current["failure"])
	if err := senderTo(t, name, to.URL).Send(context.Background(), progressing()); err != nil || len(to.seen) != 1 {
		t.Errorf("work in progress on a commit that was judged: %d requests, %v", len(to.seen), err)
	}
	to = newSink(t)
	if err := senderTo(t, name, to.URL).Send(context.Background(), progressing()); err != nil || len(to.seen) != 2 {
		t.Errorf("work in progress on a new commit: %d requests, %v", len(to.seen), err)
	}
	none := sample()
	none.Metadata = nil
	to = newSink(t)
	if err := senderTo(t, name, to.URL).Send(context.Background(), none); err != nil || len(to.seen) != 0 {
		t.Errorf("no revision: %d requests, %v", len(to.seen), err)
	}
	none.Metadata = map[string]string{"revision": "sha256:" + sha}
	if err := senderTo(t, name, to.URL).Send(context.Background(), none); !IsFinal(err) {
		t.Errorf("a revision that is no commit: %v", err)
	}
	refuses(t, name, map[string]func(*Target){
		"no repository": func(t *Target) { t.Address = "https://git.example.com/x" },
		"an expression": func(t *Target) { t.Object = &notificationv1beta3.Provider{}; t.Object.Spec.CommitStatusExpr = "event." },
	})
}

func TestCommitOf(t *testing.T) {
	tests := map[string]string{
		"main@sha1:" + sha:   sha,
		"sha1:" + sha:        sha,
		sha:                  sha,
		"main/" + sha:        sha,
		"main@sha1:0123":     "",
		"6.0.0":              "",
		"v1@sha256:" + sha:   "",
		"feat/x@sha1:" + sha: sha,
	}
	for revision, want := range tests {
		e := sample()
		e.Metadata["revision"] = revision
		if got, err := commitOf(e); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", revision, got, err)
		}
	}
}

// TestCommitStatusExpr asserts what expressions see, and that one that fails,
// costs too much or gives no name sends nothing.
func TestCommitStatusExpr(t *testing.T) {
	for expr, want := range map[string]string{
		`event.involvedObject.kind + "/" + event.metadata.summary`:                             "Kustomization/staging",
		`alert.metadata.name + "/" + provider.metadata.name`:                                   "all/forge",
		`(event.involvedObject.name + "-" + provider.metadata.uid.split("-").first().value())`: "apps-11112222",
		`provider.spec.type.upperAscii()`:                                                      "GITHUB",
		`event.metadata.missing`:                                                               "",
		`""`:                                                                                   "",
		`[1]`:                                                                                  "",
		`[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, event.message + event.message).join("")).join("")`: "",
	} {
		p := &notificationv1beta3.Provider{}
		p.Name, p.UID, p.Spec.Type, p.Spec.CommitStatusExpr = "forge", "11112222-3333", "github", expr
		to := newSink(t)
		target := targetAt("github", to.URL)
		target.Object = p
		s, err := newGitHub(target)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		err = send(t.Context(), s, sample())
		if want == "" {
			if !IsFinal(err) || len(to.seen) != 0 {
				t.Errorf("%s: %d requests, %v", expr, len(to.seen), err)
			}
			continue
		}
		var got githubStatus
		if err != nil || len(to.bodies) != 2 || json.Unmarshal([]byte(to.bodies[1]), &got) != nil || got.Context != want {
			t.Errorf("%s: got %q, %v", expr, got.Context, err)
		}
	}
}

// An expression is compiled once, however often its sender is made; what cannot be
// compiled is not kept.
func TestStatusNamesAreCompiledOnce(t *testing.T) {
	var c compiled
	first, err := c.of("event.reason")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.of("event.reason"); err != nil || again != first {
		t.Errorf("it was compiled anew: %v", err)
	}
	if _, err := c.of("nope("); err == nil || len(c.all) != 1 {
		t.Errorf("%d expressions are kept, and nonsense gives %v", len(c.all), err)
	}
	for i := len(c.all); i < maxCompiled; i++ {
		c.all[fmt.Sprint(i)] = first // stands for others
	}
	if _, err := c.of("event.severity"); err != nil || len(c.all) != 1 {
		t.Errorf("%d expressions are kept, %v", len(c.all), err)
	}
}
