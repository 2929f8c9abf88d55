package stories

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

// kill ends a program as a power cut does, and starts it again.
func (s *story) kill(name string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	if err := s.tools.Kill(ctx, name); err != nil {
		s.Fatal(err)
	}
}

// count returns how many ConfigMaps carry our labels.
func (s *story) count() int {
	s.Helper()
	var all corev1.ConfigMapList
	if err := s.List(s.Context(), &all, client.InNamespace(s.ns), client.HasLabels{kustomizev1.GroupVersion.Group + "/name"}); err != nil {
		s.Fatal(err)
	}
	return len(all.Items)
}

// A program that is killed while it applies, or while it prunes, leaves nothing
// behind that nobody knows of.
func TestKilledInTheMiddle(t *testing.T) {
	const total = 60
	s := begin(t)
	files := map[string]string{}
	var removed []string
	for i := range total {
		name := fmt.Sprintf("cm-%02d", i)
		files["app/"+name+".yaml"] = configMap(name, "one")
		if i%2 == 0 {
			removed = append(removed, "app/"+name+".yaml")
			s.plan["configmaps/"+name] = true
		}
	}
	repo := s.repository(never, files)
	s.ready(repo)
	k := s.kustomization(never, nil)
	s.eventually("some objects are applied", func() string {
		if s.count() == 0 {
			return "none"
		}
		return ""
	})
	s.kill(toolkit.Kustomize)
	s.ready(k)
	if n := s.count(); n != total {
		t.Fatalf("%d objects after the restart, want %d", n, total)
	}

	hash := s.commit("Remove every other one", nil, removed...)
	s.kill(toolkit.Source) // its artifacts are on disk, the new commit is not
	s.request(repo, func() string { return repo.Status.LastHandledReconcileAt })
	s.eventually("some objects are pruned", func() string {
		if s.count() == total {
			return "none"
		}
		return ""
	})
	s.kill(toolkit.Kustomize)
	s.eventually("the revision is applied", func() string {
		s.ready(k)
		if want := "main@sha1:" + hash; k.Status.LastAppliedRevision != want {
			return "it is at " + k.Status.LastAppliedRevision
		}
		return ""
	})
	if n := s.count(); n != total/2 || len(k.Status.Inventory.Entries) != total/2 {
		t.Errorf("%d objects and %d in the inventory, want %d", n, len(k.Status.Inventory.Entries), total/2)
	}
}
