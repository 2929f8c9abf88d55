package kustomization

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/build/remote"
	"github.com/weirhq/weir/internal/gitserver"
)

// A base of another repository is applied, and a new commit of its branch as
// well, without a new revision of the source. While that repository is away
// nothing is changed, and nothing pruned.
func TestRemoteBases(t *testing.T) {
	t.Parallel()
	git, err := gitserver.Start(gitserver.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = git.Close() })
	if err := git.Init("team/base", map[string]string{"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": configMap("far", "1")}); err != nil {
		t.Fatal(err)
	}
	loader, err := remote.New(remote.Options{Dir: t.TempDir(), Hosts: []string{"127.0.0.1"}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = loader.Close() })
	g := newRig(t)
	g.o.Builder = build.New(build.Options{Remote: loader})
	g.restart()
	g.publish("v1", map[string]string{
		"app/kustomization.yaml": fmt.Sprintf("resources: ['%s//app?ref=main', near.yaml]\n", git.URL("team/base")), "app/near.yaml": configMap("near", "1")})
	g.kustomization("app", nil)
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if g.value("far") != "1" || g.value("near") != "1" {
		t.Errorf("far = %s, near = %s", g.value("far"), g.value("near"))
	}
	if _, err := git.Commit("team/base", "main", "change", map[string]string{"app/a.yaml": configMap("far", "2")}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); g.value("far") != "2"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("far = %s after a new commit", g.value("far"))
		}
		k, _ = g.reconcile("app")
		g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	}
	_ = git.Close()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) { // polls are shared for a second
		k, _ = g.reconcile("app")
		if message := k.Status.Conditions[0].Message; strings.Contains(message, "team/base") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("conditions are %+v while the repository is away", k.Status.Conditions)
		}
	}
	g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason)
	if g.value("far") != "2" || len(k.Status.Inventory.Entries) != 2 {
		t.Errorf("far = %s, inventory %v", g.value("far"), k.Status.Inventory)
	}
}
